"""Services for a real cluster, with the image that is loaded there: see the job `kind` of the workflow."""

from fakes.programs import IMAGE, program

from pytest_isolate import http, log, service, stack

SERVE = program("serve 8000 hello")
web = service(IMAGE, port=8000, entrypoint=SERVE[:1], command=SERVE[1:], ready=http("/"), memory="64m")
front = service(web, env={"WEB": "{web.url}"}, files={"/etc/note": "copied in"})
hr = stack(web=service(web, env={"NAME": "hr"}))
built = service(build=".", ready=log("built here"))  # `kind load` brings it to the node
sales = stack(web=service(web, env={"NAME": "sales"}))
