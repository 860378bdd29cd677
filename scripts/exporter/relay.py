"""The way that pushgateway-exporter replaces, to compare with: a thread that gets a page and puts its bytes.

usage: relay.py PAGE-URL GROUP-URL INTERVAL-SECONDS

It does what such a thread does and no more: it understands nothing, keeps no connection, and sleeps between turns.
"""

import sys
import threading
import time
import urllib.request


def relay(page: str, group: str, interval: float) -> None:
    while True:
        with urllib.request.urlopen(page) as answer:
            body = answer.read()
        request = urllib.request.Request(group, data=body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            answer.read()
        print("pushed", len(body), flush=True)
        time.sleep(interval)


if __name__ == "__main__":
    page, group, interval = sys.argv[1:]
    thread = threading.Thread(target=relay, args=(page, group, float(interval)), daemon=True)
    thread.start()
    thread.join()
