// The threads of a CUDA block on a CPU: one fiber for each thread, so that a barrier, a shuffle or a tensor-core product
// is a point where fibers really wait for one another, as on a card.
//
// The kernels use this through block.h, the driver (driver.cpp) through `find_kernel` and `run_grid`.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(__SANITIZE_ADDRESS__) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

namespace twin {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  unsigned long long volume() const { return static_cast<unsigned long long>(x) * y * z; }
};

// What every thread of a block sees alike.
struct BlockPosition {
  Dim3 index, size, grid;
};

struct Fiber;

// The thread that runs now on this OS thread. A fiber never moves to another OS thread, so compilers may keep its address.
// (`__thread` rather than `thread_local`: no call of an initialiser that might be there.)
struct Thread {
  Dim3 index;
  unsigned lane = 0;  // in its warp
  const BlockPosition* block = nullptr;
  Fiber* fiber = nullptr;
};
extern __thread Thread* current;

// build.sh links the kernels between these two, so that all their shared memory lies between them.
extern __thread char shared_begin[16], shared_end[16];

// All threads of the block meet here (__syncthreads).
void barrier();
// The lanes of `mask` meet; each gets the value that lane `source` gave, or 0xff bytes where that lane takes no part.
unsigned long long exchange(unsigned mask, unsigned long long value, unsigned source);
// The lanes of `mask` meet; each gets a bit for each lane whose predicate holds.
unsigned ballot(unsigned mask, bool predicate);
// The lanes of `mask` meet (__syncwarp).
void sync_warp(unsigned mask);
// The whole warp meets; mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, d += a b.
void mma_bf16(float* d, const unsigned* a, const unsigned* b);
// Ends the kernel with an error.
[[noreturn]] void fail(const char* why);

// A kernel that the library holds: its name, how to call it with an array of pointers to its arguments, their sizes.
struct Kernel {
  const char* name;
  void (*call)(void** arguments);
  std::vector<size_t> parameter_sizes;
};
// A `__device__` variable.
struct Variable {
  const char* name;
  void* address;
  size_t size;
};

// Filled by the list that build.sh generates from the PTX.
std::vector<Kernel>& kernels();
std::vector<Variable>& variables();
const Kernel* find_kernel(const std::string& name);

// Runs all blocks of a launch on all cores. Returns what went wrong, or nothing. Stops between blocks once `*stop`.
std::string run_grid(const Kernel& kernel, Dim3 grid, Dim3 block, void** arguments, const std::atomic<bool>* stop);

template <class... A, size_t... I>
void call_with(void (*f)(A...), void** arguments, std::index_sequence<I...>) {
  (void)arguments;
  f(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
}
template <class... A>
void call_with(void (*f)(A...), void** arguments) {
  call_with(f, arguments, std::index_sequence_for<A...>{});
}
template <class... A>
std::vector<size_t> parameter_sizes(void (*)(A...)) {
  return {sizeof(A)...};
}

}  // namespace twin

#define TWIN_KERNEL(name)                                                                                        \
  static const bool twin_kernel_##name = (twin::kernels().push_back({#name,                                      \
                                              [](void** arguments) { twin::call_with(&name, arguments); },       \
                                              twin::parameter_sizes(&name)}),                                    \
                                          true);
#define TWIN_VARIABLE(name) \
  static const bool twin_variable_##name = (twin::variables().push_back({#name, (void*)&name, sizeof(name)}), true);
