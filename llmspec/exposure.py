"""What an endpoint shows the world is looked at before it does: its address, its keys, its certificate."""

import socket
import time

from llmspec import tls
from llmspec.errors import Problem, SpecError
from llmspec.home import access_folder
from llmspec.keys import Keys
from llmspec.load import Loaded


def check(loaded: Loaded) -> None:
    """SpecError with all that must not go live."""
    if problems := [*(_elsewhere(loaded) or _keyless(loaded)), *certificate(loaded)]:
        raise SpecError(*problems)


def _elsewhere(loaded: Loaded) -> list[Problem]:
    """A host that is no address of this machine, where this machine is to listen on it. Any free port tells."""
    endpoint, place = loaded.spec.endpoint, loaded.spec.places.get("endpoint")
    if endpoint.loopback or (place and place.cloud):
        return []
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(endpoint.host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        fault = f"this machine cannot listen on {endpoint.host} ({getattr(error, 'strerror', None) or 'it is no name of a host'})"
        return [loaded.problem("endpoint.host", fault, "write an address of this machine, or 0.0.0.0 for all that it has")]
    return []


def _keyless(loaded: Loaded) -> list[Problem]:
    endpoint = loaded.spec.endpoint
    if endpoint.loopback:
        return []
    now = time.time()
    if any(key.state(now) == "good" for key in Keys(access_folder(loaded.spec.name, loaded.target)).all()):
        return []
    fault = f"{endpoint.host} can be reached from elsewhere, and there is no key: anybody could ask, or nobody"
    target = f" --target {loaded.target}" if loaded.target in loaded.targets else ""
    cure = f"make one: llmspec keys create {loaded.path}{target} --role user --name NAME; or listen on 127.0.0.1"
    return [loaded.problem("endpoint.host", fault, cure)]


def certificate(loaded: Loaded) -> list[Problem]:
    """What is wrong with the files of the spec: true wherever it is validated. Keys are made where it serves."""
    found = tls.located(loaded).get("tls")
    which, fault = tls.fault(found["certificate"], found["key"]) if found else ("", "")
    cure = "paths are relative to the spec" if "cannot be read" in fault else ""
    return [loaded.problem(f"endpoint.tls.{which}", fault, cure)] if fault else []
