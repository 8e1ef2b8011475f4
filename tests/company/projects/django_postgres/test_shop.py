import pytest
from django.db import connection


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(4))
def test_each_test_begins_with_empty_tables(django_user_model, number):
    django_user_model.objects.create(username="ann")
    assert django_user_model.objects.count() == 1
    assert connection.vendor == "postgresql"


def test_the_database_is_the_services(db, pg):
    assert connection.settings_dict["PASSWORD"] == pg.password
    assert connection.settings_dict["PORT"] == pg.port
