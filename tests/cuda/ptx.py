#!/usr/bin/env python3
"""Compiles CUDA source to PTX with NVRTC, and checks that ptxas takes the PTX for every card. No card is needed.

    ptx.py KERNELS.cu KERNELS.ptx --nvrtc libnvrtc.so.11.2             writes the PTX
    ptx.py KERNELS.cu --nvrtc libnvrtc.so.11.2 --check KERNELS.ptx     fails unless the PTX is the same to the byte
    ptx.py KERNELS.cu KERNELS.ptx --ptxas ptxas                        assembles the PTX that is there

Options combine. NVRTC is that of the wheel nvidia-cuda-nvrtc-cu11 11.8.89 (nvidia/cuda_nvrtc/lib), ptxas that of
nvidia-cuda-nvcc-cu12 12.9.86 (nvidia/cuda_nvcc/bin). ptxas must not spill registers, warn, or use more than 48 kB of
shared memory.
"""

import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CARDS = [75, 80, 86, 89, 90, 100, 120]
MOST_SHARED_BYTES = 48 << 10


class Nvrtc:
    def __init__(self, path):
        # The library looks for its built-ins by name alone: have them loaded from the same folder.
        for builtins in sorted(Path(path).resolve().parent.glob("libnvrtc-builtins.so*")):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        result = getattr(self.library, "nvrtc" + name)(*arguments)
        if result != 0:
            raise RuntimeError(f"nvrtc{name}: {self.library.nvrtcGetErrorString(result).decode()}")

    def text(self, what, program):
        size = ctypes.c_size_t()
        self.call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"Get{what}", program, buffer)
        return buffer.value

    def compile(self, source, options):
        """Returns the PTX and what the compiler said."""
        program = ctypes.c_void_p()
        # The name goes into messages only; a path in it would be another on each machine.
        self.call("CreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
        try:
            given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            failed = None
            try:
                self.call("CompileProgram", program, len(options), given)
            except RuntimeError as error:
                failed = error
            log = self.text("ProgramLog", program).decode().strip()
            if failed:
                raise RuntimeError(f"{failed}\n{log}")
            return self.text("PTX", program), log
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))


def resources(log):
    """What `ptxas -v` says: kernel -> (registers, shared bytes, spilled bytes)."""
    result = {}
    kernel = None
    for line in log.splitlines():
        if m := re.search(r"Compiling entry function '([^']+)'", line):
            kernel = m[1]
            result[kernel] = [0, 0, 0]
        elif kernel and (m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            result[kernel][2] += int(m[1]) + int(m[2])
        elif kernel and (m := re.search(r"Used (\d+) registers", line)):
            result[kernel][0] = int(m[1])
            if m := re.search(r"(\d+) bytes smem", line):
                result[kernel][1] = int(m[1])
    return result


def assemble(ptxas, ptx):
    """Prints a table, and returns what is wrong."""
    target = int(re.search(rb"\.target sm_(\d+)", ptx.read_bytes())[1])
    problems = []
    print(f"{'card':8}{'kernel with most registers':32}{'registers':>10}{'shared':>10}{'most shared':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for card in CARDS:
            if card < target:
                continue
            command = [ptxas, "-v", f"--gpu-name=sm_{card}", str(ptx), "-o", os.path.join(folder, "kernels.cubin")]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            problems += [f"sm_{card}: {line}" for line in done.stdout.splitlines() if re.search(r"warning|error|fatal", line)]
            if done.returncode != 0:
                problems.append(f"sm_{card}: ptxas failed")
                continue
            found = resources(done.stdout)
            if not found:
                problems.append(f"sm_{card}: ptxas names no kernel\n{done.stdout.strip()}")
                continue
            for kernel, (_, shared, spilled) in sorted(found.items()):
                if spilled:
                    problems.append(f"sm_{card}: {kernel} spills {spilled} bytes")
                if shared > MOST_SHARED_BYTES:
                    problems.append(f"sm_{card}: {kernel} has {shared} bytes of shared memory")
            kernel, (registers, shared, _) = max(found.items(), key=lambda item: (item[1][0], item[0]))
            most_shared = max(shared for _, shared, _ in found.values())
            print(f"sm_{card:<5}{kernel:32}{registers:>10}{shared:>10}{most_shared:>14}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path, nargs="?", help="where the PTX goes, or lies")
    parser.add_argument("--nvrtc", type=Path, metavar="PATH", help="libnvrtc.so")
    parser.add_argument("--ptxas", metavar="PATH")
    parser.add_argument("--check", type=Path, metavar="FILE", help="PTX that must be the same")
    parser.add_argument("--arch", default="compute_75", help="the least card (%(default)s)")
    parser.add_argument("--define-macro", action="append", default=[], metavar="NAME[=VALUE]")
    arguments = parser.parse_args()
    if not arguments.nvrtc and not arguments.ptxas:
        parser.error("--nvrtc, --ptxas or both")
    if not arguments.out and not arguments.check:
        parser.error("OUT, --check or both")
    if arguments.check and not arguments.nvrtc:
        parser.error("--check needs --nvrtc")

    problems = []
    if arguments.nvrtc:
        options = [f"--gpu-architecture={arguments.arch}", "--std=c++17", "--fmad=false", f"-I{arguments.source.resolve().parent}"]
        options += [f"--define-macro={macro}" for macro in arguments.define_macro]
        try:
            ptx, log = Nvrtc(arguments.nvrtc).compile(arguments.source, options)
        except RuntimeError as error:
            sys.exit(f"{arguments.source}: {error}")
        if log:
            problems.append(f"{arguments.source}: the compiler says\n{log}")
        if arguments.check and arguments.check.read_bytes() != ptx:
            problems.append(f"{arguments.check} is not what {arguments.source} compiles to: write it anew")
        if arguments.out:
            arguments.out.write_bytes(ptx)
    if arguments.ptxas:
        problems += assemble(arguments.ptxas, arguments.out or arguments.check)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
