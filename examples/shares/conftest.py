"""Services with a share of a processor and of the memory each, and one that eats all it can get."""

from pathlib import Path

import company

from pytest_isolate import log, service

db = service(company.db)
mail = service(company.mail, cpus=1 / 4, memory="96m")
auth = service(company.auth, cpus=1 / 3, memory="256m")
groupware = service(company.groupware, cpus=1 / 5, memory="128m")

glutton = service(
    build=company.build("auth"),  # any image with Python in it
    command=["python3", "-u", "/glutton.py"],
    files={"/glutton.py": Path("glutton.py")},
    cpus=1 / 2,
    memory="64m",
    pids=32,
    ready=[log("no more memory"), log("no more processes"), log("busy for ever")],
    scope="module",  # it goes as soon as its tests have run: they need its hunger, others do not
)
