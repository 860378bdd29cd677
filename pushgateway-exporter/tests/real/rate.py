"""A streaming query without a source of its own: some rows a second. Tells where Spark's user interface is.

usage: rate.py QUERY-NAME
"""

import json
import sys

from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print(json.dumps({"ui": {"address": spark.sparkContext.uiWebUrl}}), flush=True)
rows = spark.readStream.format("rate").option("rowsPerSecond", 10).load()
query = rows.writeStream.format("noop").queryName(sys.argv[1]).trigger(processingTime="1 second").start()
sys.stdin.readline()
query.stop()
spark.stop()
