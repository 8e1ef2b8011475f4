"""Mail runs on a newer Debian than the services beside it."""

import company

from pytest_isolate import service

mail = service(company.mail, build=company.build("mail", debian="trixie"))
auth = service(company.auth, build=company.build("auth", debian="bookworm"))
groupware = service(company.groupware, build=company.build("groupware", debian="bookworm"))
db = service(company.db)
