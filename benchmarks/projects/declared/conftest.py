from pytest_isolate import http, postgres, service, stack

db = service(postgres("16"))
auth = service(
    image="auth:1",
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office"},
    ready=http("/healthz"),
)
hr = stack(db=db, auth=service(auth, env={"REALM": "hr"}))
sales = stack(db=db, auth=service(auth, env={"REALM": "sales"}))
