"""Two versions of PostgreSQL and two of the auth service: what the tests need in every combination."""

import company

from pytest_isolate import service, variants

db = service(company.db)
auth = service(company.auth)
mail = service(company.mail)

versions = variants(
    db={"pg15": {"build": company.build("postgres")}, "pg17": {"build": company.build("postgres", debian="trixie")}},
    auth={"bookworm": {}, "trixie": {"build": company.build("auth", debian="trixie")}},
)
