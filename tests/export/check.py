"""Reads what `taper export` wrote, as its users would; see check.sh."""

import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pandas

work = pathlib.Path(sys.argv[1])
RUNS = ["attentive", "plain"]
EPOCHS = 2


def check(what, holds):
    if not holds:
        sys.exit(f"check.py: {what}")


def tables():
    for run in RUNS:
        folder = work / run
        for name in ["steps", "epochs", "confusion", "checkpoints", "mistakes", "system"]:
            parquet = pandas.read_parquet(folder / f"{name}.parquet")
            csv = pandas.read_csv(folder / f"{name}.csv")
            records = pandas.read_json(folder / f"{name}.json", orient="records")
            check(f"{run} {name}: rows", len(parquet) == len(csv) == len(records) > 0)
            check(f"{run} {name}: columns", list(parquet.columns) == list(csv.columns) == list(records.columns))
            for column in parquet.select_dtypes("number"):
                difference = (parquet[column] - csv[column]).abs().max()
                check(f"{run} {name}.{column} differs by {difference}", not difference > 1e-6 * csv[column].abs().max())
            if "time_ms" in parquet:
                check(f"{run} {name}: times", str(parquet["time_ms"].dtype) == "datetime64[ms, UTC]")
        steps = pandas.read_parquet(folder / "steps.parquet")
        check(f"{run}: every step once", list(steps["step"]) == list(range(1, len(steps) + 1)))
        check(f"{run}: time goes on", steps["elapsed_secs"].is_monotonic_increasing)


def get(port, path, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}?{query}", timeout=30) as response:
        return response.read()


def has_read_all(port):
    """Whether TensorBoard, which shows what it has read so far, is through: the confusion matrices are written last."""
    images = json.loads(get(port, "plugin/images/tags"))
    if sorted(run for run in images if "confusion_matrix" in images[run]) != RUNS:
        return False
    matrices = (json.loads(get(port, "plugin/images/images", run=run, tag="confusion_matrix", sample=0)) for run in RUNS)
    return all(len(shown) == EPOCHS for shown in matrices)


def tensorboard():
    arguments = ["--logdir", work / "logs", "--port", "0", "--bind_all", "--load_fast", "false"]
    with open(work / "tensorboard.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *map(str, arguments)], stdout=log, stderr=log)
    try:
        port = None
        deadline = time.monotonic() + 120
        while True:
            check((work / "tensorboard.log").read_text(), time.monotonic() < deadline and server.poll() is None)
            address = re.search(r"http://\S+:(\d+)/", (work / "tensorboard.log").read_text())
            if port is None and address:
                port = int(address[1])
            if port is not None:
                try:
                    if has_read_all(port):
                        break
                except (urllib.error.URLError, ConnectionError):
                    pass
            time.sleep(0.2)
        scalars = json.loads(get(port, "plugin/scalars/tags"))
        images = json.loads(get(port, "plugin/images/tags"))
        for run in RUNS:
            for tag in ["batch/loss", "batch/gradient_norm", "batch/learning_rate", "loss/train", "loss/test", "accuracy/test"]:
                check(f"{run}: no scalar {tag} in {sorted(scalars[run])}", tag in scalars[run])
            epochs = pandas.read_csv(work / run / "epochs.csv")
            shown = json.loads(get(port, "plugin/scalars/scalars", run=run, tag="accuracy/test"))
            check(f"{run}: steps of epochs", [point[1] for point in shown] == list(epochs["step"]))
            differences = [abs(point[2] - accuracy) for point, accuracy in zip(shown, epochs["test_accuracy_percent"])]
            check(f"{run}: accuracies {differences}", max(differences) < 1e-4)
            heat = [tag for tag in images[run] if tag.startswith(("grad_cam/", "heat_map/"))]
            attention = [tag for tag in images[run] if tag.startswith("attention/")]
            check(f"{run}: pictures {sorted(images[run])}", len(heat) == 4 and "confusion_matrix" in images[run])
            check(f"{run}: attention {attention}", len(attention) == (2 if run == "attentive" else 0))
            shown = json.loads(get(port, "plugin/images/images", run=run, tag=heat[0], sample=0))
            check(f"{run}: a picture for each epoch", len(shown) == EPOCHS)
            png = get(port, "plugin/images/individualImage", **dict(urllib.parse.parse_qsl(shown[0]["query"])))
            check(f"{run}: a PNG", png.startswith(b"\x89PNG"))
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/data/plugin/hparams/session_groups",
            json.dumps({"allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 10, "colParams": []}).encode(),
            {"Content-Type": "application/json"},
        )
        groups = json.load(urllib.request.urlopen(request, timeout=30))["sessionGroups"]
        attention = sorted(group["hparams"]["model.attention"] for group in groups)
        check(f"hyper-parameters: {attention}", attention == ["cbam", "none"])
        metrics = {metric["name"]["tag"] for group in groups for metric in group["metricValues"]}
        check(f"metrics: {metrics}", {"loss/test", "accuracy/test"} <= metrics)
    finally:
        server.terminate()
        server.wait()


tables()
tensorboard()
print("taper: TensorBoard, pandas and pyarrow read what was exported")
