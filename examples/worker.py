#!/usr/bin/env python3
"""A worker in Python, with nothing but its standard library: it makes texts upper case.

    NEXUS_API=http://127.0.0.1:8002 NEXUS_TOKEN=$(cat api-token) python3 examples/worker.py
    nexus-node task submit upper --input '"a text"' --wait
"""
import json
import os
import urllib.request


def ask(path, **body):
    request = urllib.request.Request(os.environ["NEXUS_API"] + path, json.dumps(body).encode())
    request.add_header("Authorization", "Bearer " + os.environ["NEXUS_TOKEN"])
    answer = urllib.request.urlopen(request).read()
    return json.loads(answer) if answer else None


while True:
    claimed = ask("/v1/tasks/claim", capabilities=["upper"], agent="worker.py", wait="30s", lease="30s")
    if claimed:  # work that takes longer than its lease sends its token to /renew meanwhile
        output = claimed["task"]["input"].upper()
        ask(f"/v1/tasks/{claimed['task']['id']}/finish", token=claimed["token"], output=output)
