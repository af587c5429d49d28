"""Prints some features of one entity: main.py ENTITY FEATURE..."""

import os
import sys

import grpc
from larder.v1.feature_service_pb2_grpc import FeatureServiceStub

from online import Online

url = os.environ.get("LARDER_URL", "127.0.0.1:8000").removeprefix("http://")
entity, *features = sys.argv[1:]

with grpc.insecure_channel(url) as channel:
    online = Online(FeatureServiceStub(channel), features, [("x-api-key", os.environ["LARDER_KEY"])])
    layout, [row] = online.get([entity])
    statuses = layout.statuses(row)
    for name, value in layout.values(row).items():
        print(name, value, statuses[name], sep="\t")
