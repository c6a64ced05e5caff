// Fibers for the threads of a block, and the spreading of blocks over the cores. See fibers.h.
//
// Environment:
//   TAPER_TWIN_ORDER=ascending|descending|shuffled   the order of a block's threads between two meeting points (ascending)
//   TAPER_TWIN_THREADS=N                             OS threads that run blocks (one for each core)
#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// void twin_switch(void** save, void* to): keeps the callee-saved registers on this stack and goes on with those of another.
extern "C" void twin_switch(void** save, void* to) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
// It leaves by a jump: the processor would predict a return to the wrong stack's caller.
asm(R"(
  .text
  .hidden twin_switch
  .globl twin_switch
  .type twin_switch,@function
twin_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
  .size twin_switch, .-twin_switch
)");
// The stack of a fiber that has not started: six registers, the address to "return" to, and none for that to return to.
static void* first_frame(char* top, void (*entry)()) {
  void** sp = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~static_cast<uintptr_t>(15));
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  return sp;
}
#elif defined(__aarch64__)
asm(R"(
  .text
  .hidden twin_switch
  .globl twin_switch
  .type twin_switch,%function
twin_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size twin_switch, .-twin_switch
)");
static void* first_frame(char* top, void (*entry)()) {
  char* sp = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(top) & ~static_cast<uintptr_t>(15)) - 160;
  std::memset(sp, 0, 160);
  reinterpret_cast<void**>(sp)[11] = reinterpret_cast<void*>(entry);  // x30
  return sp;
}
#else
#error "fibers.cpp switches stacks in assembly: write twin_switch and first_frame for this processor"
#endif

namespace twin {

__thread Thread* current = nullptr;

std::vector<Kernel>& kernels() {
  static auto* list = new std::vector<Kernel>;
  return *list;
}
std::vector<Variable>& variables() {
  static auto* list = new std::vector<Variable>;
  return *list;
}
const Kernel* find_kernel(const std::string& name) {
  for (const Kernel& kernel : kernels())
    if (name == kernel.name) return &kernel;
  return nullptr;
}

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackSize = 512 << 10;  // redzones and unoptimised frames
#else
constexpr size_t kStackSize = 256 << 10;  // of which only what is used takes memory
#endif
// Stacks lie a little more than a power of two apart, else their tops would compete for the same lines of the cache.
constexpr size_t kStackStride = kStackSize + 13 * 64;
constexpr size_t kMostThreads = 1024;
constexpr unsigned char kStackMark = 0xa5;
constexpr size_t kStackMarkSize = 64;

enum class Order { kAscending, kDescending, kShuffled };

Order order() {
  static const Order value = [] {
    const char* text = std::getenv("TAPER_TWIN_ORDER");
    if (!text || !*text || !std::strcmp(text, "ascending")) return Order::kAscending;
    if (!std::strcmp(text, "descending")) return Order::kDescending;
    if (!std::strcmp(text, "shuffled")) return Order::kShuffled;
    std::fprintf(stderr, "libcuda stand-in: TAPER_TWIN_ORDER=%s is none of ascending, descending, shuffled\n", text);
    std::abort();
  }();
  return value;
}

}  // namespace

enum class State : unsigned char { kReady, kAtBarrier, kInWarp, kDone };
enum class Meeting : unsigned char { kSync, kExchange, kBallot, kMma };

// A stack, and where its fiber stopped.
struct Context {
  void* sp = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* bottom = nullptr;
  size_t size = 0;
};

struct Fiber {
  Context context;
  State state = State::kDone;
  // What it brings to a meeting of its warp, and takes from it.
  Meeting meeting = Meeting::kSync;
  unsigned mask = 0, source = 0;
  unsigned long long value = 0;
  float* d = nullptr;
  const unsigned *a = nullptr, *b = nullptr;
};

namespace {

float from_bf16(unsigned bits) {
  bits <<= 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Runs blocks, one at a time. Each OS thread has its own.
class BlockRunner {
 public:
  BlockRunner() {
    // One more than is used lies below, for what a thread writes beyond the end of the first.
    void* memory = mmap(nullptr, (kMostThreads + 1) * kStackStride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("libcuda stand-in: stacks");
      std::abort();
    }
    stacks_ = static_cast<char*>(memory) + kStackStride;
    free_stacks_.reserve(kMostThreads);
    free_all_stacks();
  }
  ~BlockRunner() { munmap(stacks_ - kStackStride, (kMostThreads + 1) * kStackStride); }
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  // The one whose fibers run on this OS thread.
  static thread_local BlockRunner* active;

  // Returns what went wrong, or nothing.
  std::string run(const Kernel& kernel, void** arguments, const BlockPosition& position) {
    active = this;
    kernel_ = &kernel;
    arguments_ = arguments;
    position_ = position;
    failure_.clear();
    count_ = position.size.volume();
    at_barrier_ = done_ = 0;
    prepare();
    random_ = 0x9e3779b97f4a7c15ull * (position.index.x + 1 + 65537ull * position.index.y + 4294967311ull * position.index.z) | 1;
    const size_t warps = (count_ + 31) / 32;
    bool ran = true;
    while (failure_.empty() && done_ < count_) {
      if (at_barrier_ == count_) {
        for (size_t i = 0; i < count_; i++) fibers_[i].state = State::kReady;
        at_barrier_ = 0;
      } else if (!ran) {
        failure_ = why_stuck();
        break;
      }
      ran = false;
      if (order_ == Order::kShuffled) shuffle(warp_order_, warps);
      for (size_t w = 0; w < warps && failure_.empty(); w++) ran |= run_warp(warp_order_[w]);
    }
    current = nullptr;
    if (!failure_.empty()) abandon();
    return failure_;
  }

  // Returns what is wrong, or nothing. Once a launch is often enough: it looks at memory that is not in the cache.
  std::string check_stacks() {
    for (size_t i = 0; i < marked_; i++) {
      char* stack = stacks_ + i * kStackStride;
      for (size_t k = 0; k < kStackMarkSize; k++)
        if (static_cast<unsigned char>(stack[k]) != kStackMark) {
          free_all_stacks();
          return "a thread uses more than " + std::to_string(kStackSize >> 10) + " kB of stack";
        }
    }
    return {};
  }

  void wait(State state) {
    current->fiber->state = state;
    if (state == State::kAtBarrier) at_barrier_++;
    switch_context(current->fiber->context, scheduler_, false);
  }

  void meet(Meeting meeting, unsigned mask) {
    Fiber& self = *current->fiber;
    if (!(mask >> current->lane & 1)) stop("a lane calls a warp function with a mask that leaves the lane itself out");
    self.meeting = meeting;
    self.mask = mask;
    self.state = State::kInWarp;
    const size_t warp = static_cast<size_t>(current - threads_.data()) / 32;
    warps_[warp].waiting |= 1u << current->lane;
    complete(warp, self);
    switch_context(self.context, scheduler_, false);
  }

  [[noreturn]] void stop(const char* why) {
    if (failure_.empty()) failure_ = why;
    current->fiber->state = State::kDone;
    switch_context(current->fiber->context, scheduler_, true);
    std::abort();
  }

 private:
  // Bits of lanes. Lanes that a block's size leaves out count as ended.
  struct Warp {
    unsigned waiting = 0, ended = 0;
  };

  void prepare() {
    if (threads_.size() == count_ && same(threads_size_, position_.size)) {
      for (size_t i = 0; i < count_; i++) fibers_[i].state = State::kReady;
    } else {
      threads_.assign(count_, Thread{});
      fibers_.assign(count_, Fiber{});
      threads_size_ = position_.size;
      const size_t warps = (count_ + 31) / 32;
      warps_.resize(warps);
      warp_order_.resize(warps);
      for (size_t w = 0; w < warps; w++) warp_order_[w] = order_ == Order::kDescending ? warps - 1 - w : w;
      for (size_t i = 0; i < count_; i++) {
        Thread& t = threads_[i];
        t.index = {static_cast<unsigned>(i % position_.size.x), static_cast<unsigned>(i / position_.size.x % position_.size.y),
                   static_cast<unsigned>(i / position_.size.x / position_.size.y)};
        t.lane = i % 32;
        t.block = &position_;
        t.fiber = &fibers_[i];
        fibers_[i].state = State::kReady;
      }
    }
    for (size_t w = 0; w < warps_.size(); w++) {
      const size_t lanes = std::min<size_t>(32, count_ - w * 32);
      warps_[w] = {0, lanes == 32 ? 0 : ~0u << lanes};
    }
    // Started lazily: a thread that ends without waiting leaves its stack, warm in the cache, to the next one.
    for (size_t i = 0; i < count_; i++) fibers_[i].context.sp = nullptr;
  }
  void free_all_stacks() {
    free_stacks_.clear();
    for (size_t i = kMostThreads; i-- > 0;) free_stacks_.push_back(stacks_ + i * kStackStride);
    marked_ = 0;
  }
  static bool same(const Dim3& a, const Dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

  // Runs the lanes of a warp until all wait at the barrier or have ended; in shuffled order until each has run once, so
  // that warps interleave. Says whether any ran.
  bool run_warp(size_t warp) {
    const size_t first = warp * 32, lanes = std::min<size_t>(32, count_ - first);
    size_t lane_order[32];
    for (size_t i = 0; i < lanes; i++) lane_order[i] = order_ == Order::kDescending ? lanes - 1 - i : i;
    bool ever = false;
    for (bool again = true; again;) {
      again = false;
      if (order_ == Order::kShuffled) shuffle(lane_order, lanes);
      for (size_t i = 0; i < lanes; i++) {
        const size_t t = first + lane_order[i];
        if (fibers_[t].state != State::kReady) continue;
        again = ever = true;
        resume(t);
        if (!failure_.empty()) return true;
      }
      if (order_ == Order::kShuffled) break;
    }
    return ever;
  }

  void resume(size_t t) {
    Fiber& fiber = fibers_[t];
    if (!fiber.context.sp) {
      char* stack = free_stacks_.back();
      free_stacks_.pop_back();
      // Those never used are at the bottom of the list, in order: their memory is first touched here.
      if (free_stacks_.size() < kMostThreads - marked_) {
        std::memset(stack, kStackMark, kStackMarkSize);
        marked_++;
      }
      fiber.context.bottom = stack;
      fiber.context.size = kStackSize;
      fiber.context.sp = first_frame(stack + kStackSize, &BlockRunner::entry);
    }
    current = &threads_[t];
    switch_context(scheduler_, fiber.context, false);
    if (fiber.state == State::kDone) {
      done_++;
      Warp& warp = warps_[t / 32];
      warp.ended |= 1u << t % 32;
      free_stacks_.push_back(static_cast<char*>(const_cast<void*>(fiber.context.bottom)));
      // Those that wait for this lane in a warp function wait no longer: a lane that has ended takes no part.
      for (size_t i = 0; warp.waiting && i < 32; i++)
        if (warp.waiting >> i & 1) complete(t / 32, fibers_[t / 32 * 32 + i]);
    }
  }

  // If all living lanes of a meeting have come, gives each its result and lets it run on.
  void complete(size_t warp, const Fiber& asked) {
    const size_t first = warp * 32, lanes = std::min<size_t>(32, count_ - first);
    const unsigned mask = asked.mask;
    const Meeting meeting = asked.meeting;
    const unsigned present = mask & ~warps_[warp].ended;
    if (present & ~warps_[warp].waiting) return;
    for (size_t i = 0; i < lanes; i++) {
      const Fiber& f = fibers_[first + i];
      // Somewhere else; if it stays there, nobody can run and the block fails.
      if (present >> i & 1 && (f.mask != mask || f.meeting != meeting)) return;
    }
    warps_[warp].waiting &= ~present;
    Fiber* f = &fibers_[first];
    if (meeting == Meeting::kExchange) {
      unsigned long long given[32];
      for (size_t i = 0; i < lanes; i++) given[i] = present >> i & 1 ? f[i].value : ~0ull;
      for (size_t i = 0; i < lanes; i++)
        if (present >> i & 1) f[i].value = f[i].source < lanes ? given[f[i].source] : ~0ull;
    } else if (meeting == Meeting::kBallot) {
      unsigned votes = 0;
      for (size_t i = 0; i < lanes; i++)
        if (present >> i & 1 && f[i].value) votes |= 1u << i;
      for (size_t i = 0; i < lanes; i++)
        if (present >> i & 1) f[i].value = votes;
    } else if (meeting == Meeting::kMma) {
      if (present != 0xffffffffu) {
        failure_ = "a tensor-core product in a warp of fewer than 32 threads";
        return;
      }
      multiply(f);
    }
    for (size_t i = 0; i < lanes; i++)
      if (present >> i & 1) f[i].state = State::kReady;
  }

  // Lane 4 g + q holds a[g][2q..], a[g+8][2q..], a[g][2q+8..], a[g+8][2q+8..]; b[2q..][g], b[2q+8..][g]; and
  // d[g][2q], d[g][2q+1], d[g+8][2q], d[g+8][2q+1].
  static void multiply(Fiber* lanes) {
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < 32; lane++) {
      const unsigned g = lane / 4, q = lane % 4;
      for (unsigned word = 0; word < 4; word++)
        for (unsigned half = 0; half < 2; half++)
          a[g + word % 2 * 8][2 * q + word / 2 * 8 + half] = from_bf16(lanes[lane].a[word] >> 16 * half & 0xffff);
      for (unsigned word = 0; word < 2; word++)
        for (unsigned half = 0; half < 2; half++) b[2 * q + word * 8 + half][g] = from_bf16(lanes[lane].b[word] >> 16 * half & 0xffff);
    }
    for (unsigned lane = 0; lane < 32; lane++) {
      const unsigned g = lane / 4, q = lane % 4;
      for (unsigned i = 0; i < 4; i++) {
        float sum = lanes[lane].d[i];
        for (unsigned k = 0; k < 16; k++) sum += a[g + i / 2 * 8][k] * b[k][2 * q + i % 2];
        lanes[lane].d[i] = sum;
      }
    }
  }

  std::string why_stuck() const {
    size_t in_warp = 0;
    for (size_t i = 0; i < count_; i++) in_warp += fibers_[i].state == State::kInWarp;
    if (in_warp)
      return std::to_string(in_warp) + " threads wait in a warp function that lanes of their mask never call";
    return "a barrier that " + std::to_string(at_barrier_) + " threads wait at and " + std::to_string(count_ - at_barrier_) + " never reach";
  }

  // Fibers that will not run on leave their stacks as they are.
  void abandon() {
    threads_.clear();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stacks_, kMostThreads * kStackStride);
#endif
    free_all_stacks();
  }

  template <class Indices>
  void shuffle(Indices& list, size_t n) {
    for (size_t i = n; i > 1; i--) {
      random_ ^= random_ << 13;
      random_ ^= random_ >> 7;
      random_ ^= random_ << 17;
      std::swap(list[i - 1], list[(random_ >> 33) % i]);
    }
  }

#ifdef __SANITIZE_ADDRESS__
  __attribute__((no_sanitize("address")))
#endif
  static void switch_context(Context& from, Context& to, bool for_ever) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &from.fake_stack, to.bottom, to.size);
#endif
    (void)for_ever;
    twin_switch(&from.sp, to.sp);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
  }

#ifdef __SANITIZE_ADDRESS__
  __attribute__((no_sanitize("address")))
#endif
  static void entry() {
    BlockRunner* runner = active;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &runner->scheduler_.bottom, &runner->scheduler_.size);
#endif
    runner->kernel_->call(runner->arguments_);
    current->fiber->state = State::kDone;
    switch_context(current->fiber->context, runner->scheduler_, true);
    std::abort();
  }

  char* stacks_ = nullptr;
  std::vector<char*> free_stacks_;
  size_t marked_ = 0;  // stacks that have been used
  std::vector<Thread> threads_;
  std::vector<Fiber> fibers_;
  std::vector<size_t> warp_order_;
  std::vector<Warp> warps_;
  const Order order_ = order();
  Dim3 threads_size_;
  Context scheduler_;
  BlockPosition position_;
  const Kernel* kernel_ = nullptr;
  void** arguments_ = nullptr;
  size_t count_ = 0, at_barrier_ = 0, done_ = 0;
  unsigned long long random_ = 1;
  std::string failure_;
};
thread_local BlockRunner* BlockRunner::active = nullptr;

BlockRunner& runner() {
  static thread_local std::unique_ptr<BlockRunner> mine;
  if (!mine) mine = std::make_unique<BlockRunner>();
  return *mine;
}

// Shared memory begins as 0xff bytes (NaNs) in a launch: it holds anything on a card, and would hold zeros here. Later
// blocks find what earlier ones left.
void poison_shared_memory() {
#ifndef __SANITIZE_ADDRESS__
  // Linkers lay thread-local variables out in the order of the files. Were one not to, nothing would be poisoned.
  char *begin = shared_begin, *end = shared_end;
  asm("" : "+r"(begin), "+r"(end));  // to the compiler they have nothing to do with each other
  if (begin < end && end - begin < (64 << 20)) std::memset(begin, 0xff, static_cast<size_t>(end - begin));
#endif
}

// A launch whose blocks are handed out one by one.
struct Launch {
  Launch(const Kernel& kernel, Dim3 grid, Dim3 block, void** arguments, const std::atomic<bool>* stop)
      : kernel(kernel), grid(grid), block(block), arguments(arguments), stop(stop), total(grid.volume()) {}

  const Kernel& kernel;
  Dim3 grid, block;
  void** arguments;
  const std::atomic<bool>* stop;
  const unsigned long long total;
  std::atomic<unsigned long long> next{0};
  std::atomic<bool> failed{false};
  std::mutex lock;
  std::string failure;

  // For the shuffled order: no common divisor with the total, so that each block comes once.
  unsigned long long stride = [this] {
    unsigned long long n = total * 5 / 8 | 1;
    while (std::gcd(n, total) != 1) n++;
    return n;
  }();

  bool finished() const { return next.load(std::memory_order_relaxed) >= total || failed; }

  void work() {
    if (finished()) return;
    poison_shared_memory();
    for (unsigned long long i; !failed && !(stop && *stop) && (i = next++) < total;) {
      if (order() == Order::kDescending) i = total - 1 - i;
      if (order() == Order::kShuffled) i = static_cast<unsigned long long>(static_cast<unsigned __int128>(i) * stride % total);
      BlockPosition position;
      position.index = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y), static_cast<unsigned>(i / grid.x / grid.y)};
      position.size = block;
      position.grid = grid;
#ifdef __SANITIZE_ADDRESS__
      static std::mutex one_block_at_a_time;  // shared memory is static there, see block.h
      std::lock_guard<std::mutex> only(one_block_at_a_time);
#endif
      const std::string why = runner().run(kernel, arguments, position);
      if (!why.empty())
        fail(", block (" + std::to_string(position.index.x) + ", " + std::to_string(position.index.y) + ", " + std::to_string(position.index.z) +
             "): " + why);
    }
    const std::string why = runner().check_stacks();
    if (!why.empty()) fail(": " + why);
  }

  void fail(const std::string& why) {
    std::lock_guard<std::mutex> guard(lock);
    if (failure.empty()) failure = "kernel " + std::string(kernel.name) + why;
    failed = true;
  }
};

// OS threads that help the one that runs a launch.
class Helpers {
 public:
  static Helpers& get() {
    static auto* helpers = new Helpers;  // outlives every thread
    return *helpers;
  }
  void run(Launch& launch) {
    if (launch.total > 1 && count_ > 0) {
      std::unique_lock<std::mutex> guard(lock_);
      auto place = open_.insert(open_.end(), Open{&launch, 0});
      guard.unlock();
      if (launch.total > 2) changed_.notify_all();
      else changed_.notify_one();
      launch.work();
      guard.lock();
      place->launch = nullptr;  // nobody enters any more
      left_.wait(guard, [&] { return place->inside == 0; });
      open_.erase(place);
    } else {
      launch.work();
    }
  }

 private:
  struct Open {
    Launch* launch;
    int inside;
  };
  Helpers() {
    unsigned threads = std::thread::hardware_concurrency();
    if (const char* text = std::getenv("TAPER_TWIN_THREADS")) threads = static_cast<unsigned>(std::atoi(text));
#ifdef __SANITIZE_ADDRESS__
    threads = 1;
#endif
    count_ = threads > 1 ? threads - 1 : 0;
    for (unsigned i = 0; i < count_; i++) std::thread([this] { help(); }).detach();
  }
  void help() {
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
      auto place = open_.begin();
      while (place != open_.end() && (!place->launch || place->launch->finished())) ++place;
      if (place == open_.end()) {
        changed_.wait(guard);
        continue;
      }
      Launch* launch = place->launch;
      place->inside++;
      guard.unlock();
      launch->work();
      guard.lock();
      place->inside--;
      left_.notify_all();
    }
  }
  std::mutex lock_;
  std::condition_variable changed_, left_;
  std::list<Open> open_;
  unsigned count_ = 0;
};

}  // namespace

void barrier() { BlockRunner::active->wait(State::kAtBarrier); }

unsigned long long exchange(unsigned mask, unsigned long long value, unsigned source) {
  Fiber& self = *current->fiber;
  self.value = value;
  self.source = source;
  BlockRunner::active->meet(Meeting::kExchange, mask);
  return self.value;
}

unsigned ballot(unsigned mask, bool predicate) {
  Fiber& self = *current->fiber;
  self.value = predicate;
  BlockRunner::active->meet(Meeting::kBallot, mask);
  return static_cast<unsigned>(self.value);
}

void sync_warp(unsigned mask) { BlockRunner::active->meet(Meeting::kSync, mask); }

void mma_bf16(float* d, const unsigned* a, const unsigned* b) {
  Fiber& self = *current->fiber;
  self.d = d;
  self.a = a;
  self.b = b;
  BlockRunner::active->meet(Meeting::kMma, 0xffffffffu);
}

void fail(const char* why) { BlockRunner::active->stop(why); }

std::string run_grid(const Kernel& kernel, Dim3 grid, Dim3 block, void** arguments, const std::atomic<bool>* stop) {
  Launch launch(kernel, grid, block, arguments, stop);
  Helpers::get().run(launch);
  return launch.failure;
}

}  // namespace twin
