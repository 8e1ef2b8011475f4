from fakes.programs import IMAGE, program

from pytest_isolate import http, service

web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20)
