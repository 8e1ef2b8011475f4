import urllib.request

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

# Read when Django imports it, as many projects do.
GREETER = settings.GREETER_URL


def greet(request):
    # urllib takes no user and password in an address.
    with urllib.request.urlopen("http://" + GREETER.partition("@")[2], timeout=5) as answer:
        return HttpResponse(answer.read())


urlpatterns = [path("", greet)]
