"""Reads metrics with the parsers of Prometheus' Python client, and prints what it has read as JSON.

Usage: metrics.py openmetrics|text < metrics
The parser of OpenMetrics is strict: names, endings, buckets, order, duplicates and the end must be as the format has them.
"""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

parser = openmetrics if sys.argv[1] == "openmetrics" else text
print(json.dumps([
    {
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": [[sample.name, sample.labels, str(sample.value)] for sample in family.samples],
    }
    for family in parser.text_string_to_metric_families(sys.stdin.read())
]))
