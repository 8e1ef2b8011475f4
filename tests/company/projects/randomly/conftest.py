from fakes.programs import IMAGE, program

from pytest_isolate import http, service

web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20)
per_module = service(web, scope="module")
per_class = service(web, scope="class")
per_test = service(web, scope="function")
