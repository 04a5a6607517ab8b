"""A Spark session: on Sail in this process, on a JVM that is our child, or on a Spark Connect server somewhere."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from backends.engines.clean_spark import Sail, Spark
from llmspec import container
from llmspec.card import Engine
from llmspec.errors import PlaceError


@contextmanager
def sail() -> Iterator[str]:
    """A Sail server in this process, for as long as it is needed: one starts in a millisecond, and any Ctrl-C ends it."""
    os.environ.setdefault("RUST_LOG", "error")
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer()
    server.start(background=True)
    try:
        yield "sc://{}:{}".format(*server.listening_address)
    finally:
        server.stop()


@contextmanager
def session(engine: Engine) -> Iterator[SparkSession]:
    with ExitStack() as held:
        match engine:
            case Spark(remote=str(remote)):
                spark = connected(remote)
            case Spark() if os.environ.get(container.GIVEN):
                spark = SparkSession.builder.appName("llmspec data").getOrCreate()  # as whoever submitted us set it up
            case Spark(master=master):
                spark = jvm(master or "local[*]")
            case Sail():
                spark = SparkSession.builder.remote(held.enter_context(sail())).create()
            case _:
                raise AssertionError(f"no session for {engine}")
        held.callback(let_go, spark)
        yield spark


def let_go(spark: Any) -> None:
    """Stop without asking twice: pyspark would repeat for ten minutes a goodbye that nobody answers, though all rows are here."""
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        spark.client.set_retry_policies([])
        spark.release_session_on_close = False  # Sail ends with the session, and any server forgets who is gone
    spark.stop()


def connected(remote: str) -> SparkSession:
    """A server that is not there is found out now: pyspark would ask for ten minutes."""
    where = remote.split("/;")[0]  # what follows may be a token
    address = urlsplit(where)
    try:
        socket.create_connection((address.hostname or "", address.port or 15002), timeout=10).close()
    except OSError as error:
        raise PlaceError(
            f"data.engine: no Spark Connect server answers at {where} ({error}); start it, or use `engine: sail`"
        ) from error
    return SparkSession.builder.remote(remote).create()


def jvm(master: str) -> SparkSession:
    """A classic session: the JVM is our child, and needs no port of its own."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise PlaceError("data.engine: spark needs Java 17 or newer, and there is none; install a JRE, or use `engine: sail`")
    for name in ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
        os.environ.pop(name, None)  # a parent that spoke Spark Connect leaves them to its children
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    asked = {
        "spark.api.mode": "classic",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.maxResultSize": "0",
    }
    if master.startswith("local"):
        asked["spark.sql.shuffle.partitions"] = "4"  # 200 are for a cluster
    builder = SparkSession.builder.master(master).appName("llmspec data")
    for name, value in asked.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
