"""Compiles every kernel with NVRTC, as a machine without nvcc does at its first start: kernels_nvrtc.py CUDA_HOME ARCHITECTURE… -- FILE…"""

import ctypes
import glob
import os
import sys


def main() -> int:
    home, rest = sys.argv[1], sys.argv[2:]
    cut = rest.index("--")
    architectures, files = rest[:cut], rest[cut + 1 :]
    libraries = sorted(glob.glob(os.path.join(home, "lib", "libnvrtc.so.*")))
    if not libraries:
        print(f"FAILED: no libnvrtc below {home}/lib", file=sys.stderr)
        return 1
    # NVRTC opens its built-ins by name.
    for built_in in glob.glob(os.path.join(home, "lib", "libnvrtc-builtins.so.*")):
        ctypes.CDLL(built_in, mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(libraries[0])
    failed = 0
    for file in files:
        with open(file, "rb") as source:
            text = source.read()
        folder = os.path.dirname(file)
        for architecture in architectures:
            options = [
                f"--gpu-architecture=sm_{architecture}",
                "--std=c++17",
                "--include-path=" + folder,
                "--include-path=" + os.path.join(home, "include"),
            ]
            failed += compile_one(nvrtc, file, text, architecture, options)
    print(f"NVRTC: {len(files)} files for {len(architectures)} architectures, {failed} failed")
    return 1 if failed else 0


def compile_one(nvrtc, file, text, architecture, options) -> int:
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, file.encode(), 0, None, None) != 0:
        print(f"FAILED: {file}: NVRTC makes no program of it", file=sys.stderr)
        return 1
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    result = nvrtc.nvrtcCompileProgram(program, len(options), given)
    length = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(length))
    log = ctypes.create_string_buffer(length.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    said = log.value.decode(errors="replace").strip()
    size = ctypes.c_size_t()
    has_code = result == 0 and nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0 and size.value > 0
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    # A warning fails, too.
    if not has_code or said:
        print(f"FAILED: {file} for sm_{architecture} with NVRTC:\n{said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
