"""A Django application in one file."""

from collections.abc import Iterator

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="an example has none")


def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse("hello from django\n")


def stream(_: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        for number in range(3):
            yield f"part {number}\n"

    return StreamingHttpResponse(parts(), content_type="text/plain")


def upload(request: HttpRequest) -> HttpResponse:
    size = 0
    while part := request.read(65_536):
        size += len(part)
    return HttpResponse(f"{size}\n")


urlpatterns = [path("", hello), path("stream", stream), path("upload", upload)]
app = get_wsgi_application()
