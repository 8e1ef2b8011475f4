import os

from pytest_isolate import postgres, service, variants

IMAGE = os.environ["POSTGRES_IMAGE"]

db = service(postgres(image=IMAGE))
versions = variants(db={name: postgres(image=IMAGE, database=name) for name in ("one", "two", "three")})
