import pytest


@pytest.fixture(scope="session")
def django_db_setup(pg, django_db_setup):
    """Tests with a database need the service."""
