"""The table that `build` prints at its end."""

from onnx_ml_bridge.cli import build_command
from onnx_ml_bridge.cli.build import Built


def test_the_table_shows_the_metrics_of_every_model_and_the_failures(capsys):
    made = {"status": "built", "source": "path:x", "seconds": 1.0, "path": "p", "report": "r"}
    build_command._print_results(
        [
            Built("vectors", bytes={"fp32": 10}, headlines={"fp32": "max abs 3.0e-07, cosine min 1.00000"}, **made),
            Built("entities", bytes={"fp32": 10}, headlines={"fp32": "differing 2, entity F1 0.99900"}, **made),
            Built("nothing", "failed", "path:y", 2.0, error={"code": "source", "message": "gone"}),
        ]
    )
    shown = capsys.readouterr()
    assert "compared with the original" in shown.out and "max abs 3.0e-07, cosine min 1.00000" in shown.out
    assert "differing 2, entity F1 0.99900" in shown.out and "failed" in shown.out
    assert "nothing: error[source]: gone" in shown.err
