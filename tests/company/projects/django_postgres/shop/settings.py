import os
from urllib.parse import urlsplit

SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
_DB = urlsplit(os.environ.get("DATABASE_URL", "postgresql://nobody@localhost:1/none"))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _DB.hostname,
        "PORT": _DB.port,
        "USER": _DB.username,
        "PASSWORD": _DB.password,
        "NAME": _DB.path[1:],
    }
}
