"""The Price List API as the fakes know it: products as AWS writes them, JSON in strings."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

USD = {
    "g5.12xlarge": "5.6720000000",
    "g5.24xlarge": "8.1440000000",
    "p4de.24xlarge": "27.4470500000",
    "p5.48xlarge": "55.0400000000",
}


def item(instance_type: str, region: str, usd: str, unit: str = "Hrs", **attributes: str) -> str:
    """One entry of a PriceList."""
    said = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "servicecode": "AmazonEC2",
    }
    rate = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": usd}, "appliesTo": []}
    term = {"offerTermCode": "JRTCKXETXF", "priceDimensions": {"SKU1.JRTCKXETXF.6YS6EN2CT7": rate}}
    product = {
        "product": {
            "sku": "SKU1",
            "productFamily": "Compute Instance",
            "attributes": said | attributes,
        },
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {"SKU1.JRTCKXETXF": term}},
        "version": "20261120000000",
    }
    return json.dumps(product)


class FakePrices:
    """The price list of the fake account: the same price in every region, unless a test says otherwise."""

    def __init__(self) -> None:
        self.usd = dict(USD)
        self.items: dict[tuple[str, str], list[str]] = {}
        """What is answered for a type and region in place of its one product."""

    def answer(self, filters: list[dict[str, Any]]) -> dict[str, Any]:
        """What GetProducts answers to these filters; like AWS it has nothing for a filter that does not hold."""
        asked = {one["Field"]: one["Value"] for one in filters}
        assert {one["Type"] for one in filters} == {"TERM_MATCH"}
        place = (asked["instanceType"], asked["regionCode"])
        listed = [item(*place, self.usd[place[0]])] if place[0] in self.usd else []
        found = [one for one in listed if asked.items() <= json.loads(one)["product"]["attributes"].items()]
        return {"FormatVersion": "aws_v1", "PriceList": self.items.get(place, found)}


@contextmanager
def serving(prices: FakePrices) -> Iterator[str]:
    """The price list over HTTP on loopback, as botocore speaks to it; gives its URL."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
            body = json.dumps(prices.answer(asked["Filters"])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
