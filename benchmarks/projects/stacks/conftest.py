import os

from pytest_isolate import http, service, stack

page = service(image=os.environ["WEB_IMAGE"], port=8000, ready=http())
for number in range(int(os.environ["STACKS"])):
    globals()[f"stack_{number}"] = stack(front=page, back=page)
