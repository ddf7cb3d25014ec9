"""A Django view for callers who signed in at Gatepost; a whole project in one file.

The decorator checks the token by the published keys and the scope that the view needs. What is
finer than scopes the view decides by the roles in the token: here, only administrators get in.

    make run
    python -m examples.django_report runserver 8002     # in another terminal

    curl -H "Authorization: Bearer $access" http://127.0.0.1:8002/report

In a project of your own the verifier stands in a module beside your settings. The packages are
those of `gatepost[verifier]` and Django.
"""

import os
import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path

from gatepost.verifier.django import Verifier

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8000")

verifier = Verifier(issuer=ISSUER, audience=os.environ.get("AUDIENCE", ISSUER))


@verifier.require("users:read")
def report(request: HttpRequest) -> JsonResponse:
    caller = request.caller
    if "admin" not in caller.roles:
        return JsonResponse({"error": "administrators only"}, status=403)
    return JsonResponse({"for": str(caller.subject), "lines": [{"sold": 3}]})


urlpatterns = [path("report", report)]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        # Signs nothing here: callers are known by their tokens, there are no cookies.
        SECRET_KEY=os.urandom(32).hex(),
    )
    django.setup()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
