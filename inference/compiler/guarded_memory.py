"""Memory between pages that cannot be written to: a tensor whose end is written past ends the process at once.

An allocator for torch's CPU tensors, for a process that is meant to find such a write. A tensor ends within 64 bytes of
its guard; what is written into that rest is found when the tensor is freed. Reads are let pass.
"""

import ctypes
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from .shared_library import built_library

__all__ = ["guard_memory", "guards_available"]

SOURCE = """\
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr size_t kAlignment = 64;
constexpr unsigned char kMark = 0xa5;

struct Block {
    char *base;
    char *data;
    size_t bytes, length;
};

void release(void *context) {
    auto *block = static_cast<Block *>(context);
    for (char *at = block->data + block->bytes; at < block->base + block->length - sysconf(_SC_PAGESIZE); ++at)
        if (static_cast<unsigned char>(*at) != kMark) std::abort();
    munmap(block->base, block->length);
    delete block;
}

struct Guarded final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        const size_t page = sysconf(_SC_PAGESIZE);
        const size_t room = (bytes + kAlignment - 1) / kAlignment * kAlignment;
        const size_t pages = (room + page - 1) / page * page;
        const size_t length = pages + 2 * page;
        void *base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) throw std::bad_alloc();
        char *start = static_cast<char *>(base), *end = start + page + pages, *data = end - room;
        std::memset(data + bytes, kMark, room - bytes);
        mprotect(start, page, PROT_READ);
        mprotect(end, page, PROT_READ);
        auto *block = new Block{start, data, bytes, length};
        return {data, block, &release, c10::Device(c10::DeviceType::CPU)};
    }
    void copy_data(void *to, const void *from, std::size_t count) const override { std::memcpy(to, from, count); }
};

Guarded guarded;

}  // namespace

extern "C" void guard_memory() { c10::SetCPUAllocator(&guarded, 255); }
"""


def guard_memory() -> None:
    """Let every CPU tensor that this process makes from now on lie between guards. There is no way back."""
    _library().guard_memory()


@functools.cache
def guards_available() -> bool:
    """The allocator is built, or can be: this is Linux, with a C++ compiler and the headers of torch."""
    try:
        _library()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@functools.cache
def _library() -> Any:
    if sys.platform != "linux":
        raise OSError("guards are for Linux")
    return ctypes.CDLL(str(_built()))


def _built() -> Path:
    """The allocator for this version of torch."""
    root = Path(torch.__file__).parent
    options = [
        "-std=c++20",
        "-O1",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-I{root / 'include'}",
        f"-L{root / 'lib'}",
        "-lc10",
    ]
    return built_library("guarded_memory", f"// torch {torch.__version__}\n{SOURCE}", options)
