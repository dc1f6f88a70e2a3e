"""llama.cpp's own server in this process: `python -m onnx_ml_bridge.backends.llama_child --model FILE --port 0`.

It understands the arguments of `llama-server` that the backends pass, prints `READY ADDRESS` when the model is loaded,
and ends when its standard input is closed, so that it never outlives its parent.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from ..runtime.cpu import usable_cpus


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the standard input is closed.

    :raises SystemExit: with the status 3 if llama.cpp refuses the model, or if it is not installed.
    """
    options = _parser().parse_args(arguments)
    try:
        import xllamacpp

        server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), options))
    except Exception as error:  # of any kind: llama.cpp reports what is wrong with a file as RuntimeError
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(3) from error
    print("READY", server.listening_address, flush=True)
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(0)  # the destructor of a server waits for its running request


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama_child", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address, or the path of a Unix socket")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ctx-size", type=int, default=512)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0 uses all CPUs that the process may use")
    parser.add_argument("--threads-batch", type=int, default=0)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--ubatch-size", type=int)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--no-warmup", action="store_true")
    return parser


def _parameters(parameters: Any, options: argparse.Namespace) -> Any:
    """Return the parameters of a server with the options; what this project does not need is off."""
    parameters.model.path = options.model
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_ctx = options.ctx_size
    parameters.n_parallel = options.parallel
    threads = options.threads or usable_cpus()
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = options.threads_batch or threads
    parameters.embedding = options.embeddings
    if options.batch_size is not None:
        parameters.n_batch = options.batch_size
    if options.ubatch_size is not None:
        parameters.n_ubatch = options.ubatch_size
    parameters.warmup = not options.no_warmup
    parameters.cache_prompt = False
    parameters.ui = False
    parameters.fit_params = False
    parameters.no_extra_bufts = True  # repacked weights of some formats nearly double the memory
    return parameters


if __name__ == "__main__":
    main()
