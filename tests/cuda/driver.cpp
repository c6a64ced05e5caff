// A stand-in for libcuda.so.1, NVIDIA's driver, on a machine without a card: a launch runs the kernel's host twin (the
// same source, compiled by g++, see block.h) on the CPU. It has the entry points that cudarc 0.19's driver API needs.
//
// It is stricter than a driver where a driver is silent:
//   - Work runs later, on a thread for each stream; only events and waits order it. What is copied asynchronously into
//     pinned memory shows 0xff bytes until the copy has run.
//   - Fresh and freed device memory is 0xff bytes (NaNs). Freed memory stays readable for a while; a write to it is
//     reported when that ends, at the latest at exit. A write next to a living allocation fails the device at once with
//     CUDA_ERROR_ILLEGAL_ADDRESS. (With AddressSanitizer memory is plain malloc's, and the sanitizer reports instead.)
//   - Copies and memsets must lie inside one living allocation.
//   - The PTX that is loaded must have exactly the host twins' kernels and parameter sizes, and fit the driver's version
//     and the card's capability.
//   - Allocations and frees in a capture are refused, also those that CUDA would make nodes of the graph; so are waits for
//     other streams and events.
//   - Dynamic shared memory is not supported.
//
// Environment (see fibers.cpp for two more):
//   TAPER_TWIN_REPORT=FILE       at exit, if cuInit was called: counts as one JSON object; %p becomes the process id
//   TAPER_TWIN_FAIL=ENTRY[:NTH[+][:CODE]][,...]
//                                the NTH call (1) of an entry point returns CODE (999); with + all later ones too
//   TAPER_TWIN_LOST_AFTER=N      once N graph launches have run, the device is lost: CUDA_ERROR_LAUNCH_FAILED for ever
//   TAPER_TWIN_DELAY=MICROSECONDS  before each piece of queued work
//   TAPER_TWIN_DRIVER_VERSION    11080
//   TAPER_TWIN_CAPABILITY        8.0
//   TAPER_TWIN_CARDS             1
//   TAPER_TWIN_MEMORY=BYTES      8 GiB
//
// In the report allocations are those of device and pinned memory, and "waits" are calls that made the host wait:
// synchronise, synchronous copies between host and device, and asynchronous copies into memory that is not pinned (these
// wait in CUDA too). Copies and kernels count when they run, so that those of a graph count at each launch.
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fibers.h"

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using Handle = void*;

enum : CUresult {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_INVALID_PTX = 218,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_FILE_NOT_FOUND = 301,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_ILLEGAL_STATE = 401,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
  CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
  CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
  CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
  CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
  CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
  CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
  CUDA_ERROR_CAPTURED_EVENT = 907,
  CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
};

struct ErrorText {
  CUresult code;
  const char *name, *text;
};
static const ErrorText kErrors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {710, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
    {909, "CUDA_ERROR_TIMEOUT", "wait operation timed out"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

template <class... A>
static void say(const char* format, A... values) {
  std::string line = std::string("libcuda stand-in: ") + format + "\n";
  if constexpr (sizeof...(A) == 0)
    std::fputs(line.c_str(), stderr);
  else
    std::fprintf(stderr, line.c_str(), values...);
}

// ---------------------------------------------------------------------------------------------------------------------
// State. One lock guards all of it; only a stream's thread running a piece of work does so without.

using Clock = std::chrono::steady_clock;

struct Range {
  CUdeviceptr begin;
  size_t size;
};

enum class NodeKind : int { kKernel = 0, kCopy = 1, kSet = 2, kHost = 3 };

// A piece of work: a node of a graph, or what a stream runs.
struct Node {
  NodeKind kind;
  std::function<void()> run;
  std::vector<Range> touched;  // device memory that must be alive when a graph with this node is launched
};

struct Stream;
struct Capture {
  int mode;
  std::thread::id thread;
  Stream* origin;
  bool valid = true;
  std::vector<Node> nodes;
};

using StreamPosition = std::pair<std::shared_ptr<Stream>, uint64_t>;
struct Task {
  std::vector<StreamPosition> after;
  std::function<void()> run;
};
struct Stream {
  bool blocking = true;  // ordered with the legacy default stream
  bool started = false, destroyed = false;
  std::deque<Task> queue;
  uint64_t submitted = 0, completed = 0;
  std::shared_ptr<Capture> capture;
  uint64_t captured = 0, joined = 0;  // pieces of work captured on a stream that joined a capture; those the origin waits for
};

struct EventTime {
  bool set = false;
  Clock::time_point time;
};
struct Event {
  bool timing = true, recorded = false;
  StreamPosition position;
  std::shared_ptr<EventTime> time;
  std::shared_ptr<Capture> capture;  // it was recorded in this one
  Stream* captured_on = nullptr;
  uint64_t captured_position = 0;
};

struct Graph {
  std::vector<Node> nodes;
};

struct Entry {
  std::vector<size_t> parameter_sizes;
  unsigned most_threads = 1024;
  size_t shared_bytes = 0;
};
struct Function {
  const twin::Kernel* kernel;
  Entry entry;
};
struct Module {
  std::map<std::string, Entry> entries;
  std::map<std::string, std::unique_ptr<Function>> functions;
};

struct Allocation {
  size_t size = 0;
  char* block = nullptr;  // what malloc gave
  bool host = false;
};
struct Freed {
  CUdeviceptr begin;
  Allocation allocation;
};

struct Fault {
  std::string entry;
  long nth = 1;
  bool later_too = false;
  CUresult code = 999;
  long calls = 0;
};

struct State {
  std::mutex lock;
  std::condition_variable changed;

  // From the environment.
  int driver_version = 11080, capability_major = 8, capability_minor = 0, cards = 1;
  size_t memory = 8ull << 30;
  long lost_after = -1, delay = 0;
  std::string report;
  std::vector<Fault> faults;

  bool initialised = false;
  std::atomic<bool> lost{false};
  CUresult lost_code = 0;

  std::map<CUdeviceptr, Allocation> live;  // device and pinned memory
  std::deque<Freed> quarantine;
  size_t quarantine_bytes = 0, used = 0;

  std::shared_ptr<Stream> legacy = std::make_shared<Stream>();
  std::map<Handle, std::shared_ptr<Stream>> streams;
  std::set<std::shared_ptr<Capture>> captures;
  std::map<Handle, std::shared_ptr<Event>> events;
  std::map<Handle, std::shared_ptr<Graph>> graphs, executables;
  std::map<Handle, std::unique_ptr<Module>> modules;
  std::map<Handle, Function*> functions;
  int primary_retained = 0;

  // Counts for the report.
  std::map<std::string, long> calls, kernels_run;
  std::vector<size_t> graph_kernels;
  long graph_launches = 0, graph_runs = 0, kernel_launches = 0, waits = 0, allocations = 0, frees = 0;
  long copies_to_device = 0, copies_to_host = 0, invalid_accesses = 0;
  unsigned long long bytes_to_device = 0, bytes_to_host = 0;

  State();
};

static const char* setting(const char* name) {
  const char* text = std::getenv(name);
  return text && *text ? text : nullptr;
}

State::State() {
  if (auto text = setting("TAPER_TWIN_DRIVER_VERSION")) driver_version = std::atoi(text);
  if (auto text = setting("TAPER_TWIN_CAPABILITY")) std::sscanf(text, "%d.%d", &capability_major, &capability_minor);
  if (auto text = setting("TAPER_TWIN_CARDS")) cards = std::atoi(text);
  if (auto text = setting("TAPER_TWIN_MEMORY")) memory = std::strtoull(text, nullptr, 10);
  if (auto text = setting("TAPER_TWIN_LOST_AFTER")) lost_after = std::atol(text);
  if (auto text = setting("TAPER_TWIN_DELAY")) delay = std::atol(text);
  if (auto text = setting("TAPER_TWIN_REPORT")) report = text;
  if (auto text = setting("TAPER_TWIN_FAIL")) {
    std::string all = text;
    for (size_t begin = 0; begin <= all.size();) {
      const size_t end = std::min(all.find(',', begin), all.size());
      const std::string one = all.substr(begin, end - begin);
      begin = end + 1;
      Fault fault;
      size_t colon = one.find(':');
      fault.entry = one.substr(0, colon);
      if (colon != std::string::npos) {
        char* rest = nullptr;
        fault.nth = std::strtol(one.c_str() + colon + 1, &rest, 10);
        if (*rest == '+') fault.later_too = true, rest++;
        if (*rest == ':') fault.code = static_cast<CUresult>(std::strtol(rest + 1, &rest, 10));
        if (*rest || fault.nth < 1) say("TAPER_TWIN_FAIL: cannot read \"%s\"", one.c_str()), std::abort();
      }
      faults.push_back(fault);
    }
  }
}

// Never destroyed: threads of streams use it until the process ends.
static State& state() {
  static auto* it = new State;
  return *it;
}
using Guard = std::unique_lock<std::mutex>;

static std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}
static std::string json_counts(const std::map<std::string, long>& counts) {
  std::string out = "{";
  for (auto& [name, count] : counts) out += (out.size() > 1 ? ", " : "") + json_text(name) + ": " + std::to_string(count);
  return out + "}";
}

static void check_quarantine(State& s, const Freed& freed);

__attribute__((destructor)) static void write_report() {
  State& s = state();
  Guard guard(s.lock);
  for (auto& freed : s.quarantine) check_quarantine(s, freed);
  for (auto& fault : s.faults)
    if (s.initialised && fault.calls < fault.nth)
      say("TAPER_TWIN_FAIL had no effect: %s was called %ld times", fault.entry.c_str(), fault.calls);
  if (s.report.empty() || !s.initialised) return;
  std::string path = s.report;
  if (size_t at = path.find("%p"); at != std::string::npos) path.replace(at, 2, std::to_string(getpid()));
  std::string graph_nodes = "[";
  for (size_t n : s.graph_kernels) graph_nodes += (graph_nodes.size() > 1 ? ", " : "") + std::to_string(n);
  graph_nodes += "]";
  const std::string unfinished = path + "." + std::to_string(getpid());
  FILE* file = std::fopen(unfinished.c_str(), "w");
  if (!file) return say("cannot write %s", path.c_str());
  std::fprintf(file,
               "{\"graph_launches\": %ld, \"kernel_launches\": %ld, \"graph_nodes\": %s, \"waits\": %ld, "
               "\"bytes_to_device\": %llu, \"copies_to_device\": %ld, \"bytes_to_host\": %llu, \"copies_to_host\": %ld, "
               "\"allocations\": %ld, \"frees\": %ld, \"live_allocations\": %zu, \"invalid_accesses\": %ld, "
               "\"kernels\": %s, \"calls\": %s}\n",
               s.graph_launches, s.kernel_launches, graph_nodes.c_str(), s.waits, s.bytes_to_device, s.copies_to_device, s.bytes_to_host,
               s.copies_to_host, s.allocations, s.frees, s.live.size(), s.invalid_accesses, json_counts(s.kernels_run).c_str(),
               json_counts(s.calls).c_str());
  std::fclose(file);
  if (std::rename(unfinished.c_str(), path.c_str())) say("cannot write %s", path.c_str());
}

// The device fails: what is queued is dropped, and every later call that touches the device says why.
static void lose_device(State& s, CUresult code) {
  if (s.lost) return;
  s.lost_code = code;
  s.lost = true;
  s.changed.notify_all();
}

// ---------------------------------------------------------------------------------------------------------------------
// What every entry point begins with.

static thread_local std::vector<Handle> context_stack;
static const Handle kPrimaryContext = reinterpret_cast<Handle>(0x7a9e0);
static Handle current_context() { return context_stack.empty() ? nullptr : context_stack.back(); }

enum class Needs { kNothing, kInitialised, kContext, kDevice };

static CUresult enter(State& s, const char* entry, Needs needs) {
  s.calls[entry]++;
  for (auto& fault : s.faults)
    if (fault.entry == entry || fault.entry + "_v2" == entry) {
      fault.calls++;
      if (fault.calls == fault.nth || (fault.later_too && fault.calls > fault.nth)) return fault.code;
    }
  if (needs == Needs::kNothing) return CUDA_SUCCESS;
  if (!s.initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (needs == Needs::kInitialised) return CUDA_SUCCESS;
  if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT;
  if (needs == Needs::kDevice && s.lost) return s.lost_code;
  return CUDA_SUCCESS;
}

// Declares `s` and `guard`, counts the call, and returns early where it must fail.
#define ENTER(needs)      \
  State& s = state();     \
  Guard guard(s.lock);    \
  if (CUresult refused = enter(s, __func__, Needs::needs)) return refused
#define CHECK(condition, code) \
  if (!(condition)) return code

// Calls that wait or may wait, allocate or free are refused while this thread captures a stream, or any thread does in
// global mode; they break the capture.
static CUresult refuse_in_capture(State& s) {
  bool refused = false;
  for (auto& capture : s.captures)
    if (capture->mode == 0 || (capture->mode == 1 && capture->thread == std::this_thread::get_id())) {
      capture->valid = false;
      refused = true;
    }
  return refused ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}
#define NOT_IN_CAPTURE() \
  if (CUresult refused = refuse_in_capture(s)) return refused

// ---------------------------------------------------------------------------------------------------------------------
// Memory.

constexpr unsigned char kPoison = 0xff, kGuard = 0xdb;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kGuardBytes = 0, kQuarantineBytes = 0;
#else
constexpr size_t kGuardBytes = 256, kQuarantineBytes = 256 << 20;
#endif

static bool all_bytes(const void* p, unsigned char value, size_t n) {
  auto bytes = static_cast<const unsigned char*>(p);
  return n == 0 || (bytes[0] == value && !std::memcmp(bytes, bytes + 1, n - 1));
}

static CUresult allocate(State& s, CUdeviceptr* result, size_t size, bool host) {
  CHECK(result && size, CUDA_ERROR_INVALID_VALUE);
  CHECK(host || (size <= s.memory && s.used <= s.memory - size), CUDA_ERROR_OUT_OF_MEMORY);
  void* block = nullptr;
  if (posix_memalign(&block, 256, size + 2 * kGuardBytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  char* begin = static_cast<char*>(block) + kGuardBytes;
  std::memset(block, kGuard, kGuardBytes);
  std::memset(begin, kPoison, size);
  std::memset(begin + size, kGuard, kGuardBytes);
  s.live[reinterpret_cast<CUdeviceptr>(begin)] = {size, static_cast<char*>(block), host};
  if (!host) s.used += size;
  s.allocations++;
  *result = reinterpret_cast<CUdeviceptr>(begin);
  return CUDA_SUCCESS;
}

// Whether nobody wrote next to an allocation; `by` did, if somebody did.
static void check_guards(State& s, const Allocation& a, const char* by) {
  const bool before = all_bytes(a.block, kGuard, kGuardBytes), after = all_bytes(a.block + kGuardBytes + a.size, kGuard, kGuardBytes);
  if (before && after) return;
  say("%s wrote %s an allocation of %zu bytes", by, before ? "past the end of" : "in front of", a.size);
  s.invalid_accesses++;
  std::memset(a.block, kGuard, kGuardBytes);
  std::memset(a.block + kGuardBytes + a.size, kGuard, kGuardBytes);
  lose_device(s, CUDA_ERROR_ILLEGAL_ADDRESS);
}
static void check_all_guards(State& s, const char* by) {
  for (auto& [begin, allocation] : s.live) check_guards(s, allocation, by);
}

static void check_quarantine(State& s, const Freed& freed) {
  if (all_bytes(freed.allocation.block + kGuardBytes, kPoison, freed.allocation.size)) return;
  say("freed memory was written to (an allocation of %zu bytes)", freed.allocation.size);
  s.invalid_accesses++;
  lose_device(s, CUDA_ERROR_ILLEGAL_ADDRESS);
}

// The memory is poisoned, and given back to malloc a good deal later.
static void discard(State& s, CUdeviceptr begin, const Allocation& allocation) {
  check_guards(s, allocation, "somebody");
  if (kQuarantineBytes == 0) {
    std::free(allocation.block);
    return;
  }
  std::memset(reinterpret_cast<void*>(begin), kPoison, allocation.size);
  s.quarantine.push_back({begin, allocation});
  s.quarantine_bytes += allocation.size;
  while (s.quarantine_bytes > kQuarantineBytes) {
    Freed oldest = s.quarantine.front();
    s.quarantine.pop_front();
    s.quarantine_bytes -= oldest.allocation.size;
    check_quarantine(s, oldest);
    std::free(oldest.allocation.block);
  }
}

static const std::pair<const CUdeviceptr, Allocation>* allocation_at(State& s, CUdeviceptr p) {
  auto after = s.live.upper_bound(p);
  if (after == s.live.begin()) return nullptr;
  auto& found = *std::prev(after);
  return p < found.first + found.second.size ? &found : nullptr;
}
static bool is_pinned(State& s, const void* p) {
  auto found = allocation_at(s, reinterpret_cast<CUdeviceptr>(p));
  return found && found->second.host;
}

// Whether the range lies in one living allocation or `__device__` variable.
static bool is_alive(State& s, CUdeviceptr begin, size_t size) {
  auto inside = [&](CUdeviceptr first, size_t all) { return begin >= first && begin - first <= all && size <= all - (begin - first); };
  if (size == 0) return true;
  if (auto found = allocation_at(s, begin)) return inside(found->first, found->second.size);
  for (auto& variable : twin::variables())
    if (inside(reinterpret_cast<CUdeviceptr>(variable.address), variable.size)) return true;
  return false;
}
static CUresult check_range(State& s, const char* entry, CUdeviceptr begin, size_t size) {
  if (is_alive(s, begin, size)) return CUDA_SUCCESS;
  if (auto found = allocation_at(s, begin))
    say("%s: %zu bytes from byte %llu of an allocation of %zu bytes", entry, size, begin - found->first, found->second.size);
  else
    say("%s: %zu bytes at an address where no allocation is alive", entry, size);
  return CUDA_ERROR_INVALID_VALUE;
}
#define CHECK_RANGE(begin, size) \
  if (CUresult refused = check_range(s, __func__, begin, size)) return refused

// ---------------------------------------------------------------------------------------------------------------------
// Streams.

static std::shared_ptr<Stream> find_stream(State& s, Handle handle) {
  static thread_local std::shared_ptr<Stream> per_thread;
  const auto number = reinterpret_cast<uintptr_t>(handle);
  if (number <= 1) return s.legacy;  // CU_STREAM_LEGACY
  if (number == 2) {                 // CU_STREAM_PER_THREAD
    if (!per_thread) {
      per_thread = std::make_shared<Stream>();
      s.streams[per_thread.get()] = per_thread;
    }
    return per_thread;
  }
  auto found = s.streams.find(handle);
  return found == s.streams.end() ? nullptr : found->second;
}
#define FIND_STREAM(name, handle)         \
  auto name = find_stream(s, handle);     \
  CHECK(name, CUDA_ERROR_INVALID_HANDLE)

// The thread of a stream.
static void run_stream(std::shared_ptr<Stream> stream) {
  State& s = state();
  Guard guard(s.lock);
  for (;;) {
    s.changed.wait(guard, [&] { return !stream->queue.empty() || stream->destroyed; });
    if (stream->queue.empty()) return;
    Task task = std::move(stream->queue.front());
    stream->queue.pop_front();
    for (auto& [other, position] : task.after) s.changed.wait(guard, [&, &other = other, &position = position] { return other->completed >= position; });
    guard.unlock();
    if (s.delay > 0 && !s.lost) std::this_thread::sleep_for(std::chrono::microseconds(s.delay));
    if (!s.lost) task.run();
    task = Task();  // what the work holds is released before anybody hears that it is done
    guard.lock();
    stream->completed++;
    s.changed.notify_all();
  }
}

static void enqueue(State& s, const std::shared_ptr<Stream>& stream, std::function<void()> run, std::vector<StreamPosition> after = {}) {
  auto wait_for = [&](const std::shared_ptr<Stream>& other) {
    if (other != stream && other->completed < other->submitted) after.push_back({other, other->submitted});
  };
  if (stream == s.legacy) {
    for (auto& [handle, other] : s.streams)
      if (other->blocking) wait_for(other);
  } else if (stream->blocking) {
    wait_for(s.legacy);
  }
  stream->queue.push_back({std::move(after), std::move(run)});
  stream->submitted++;
  if (!stream->started) {
    stream->started = true;
    std::thread(run_stream, stream).detach();
  }
  s.changed.notify_all();
}

// Queues a piece of work, or adds it to the graph that the stream captures.
static CUresult submit(State& s, const std::shared_ptr<Stream>& stream, Node node) {
  if (stream->capture) {
    CHECK(stream->capture->valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    stream->capture->nodes.push_back(std::move(node));
    stream->captured++;
    return CUDA_SUCCESS;
  }
  if (stream == s.legacy)
    for (auto& [handle, other] : s.streams)
      if (other->blocking && other->capture) {
        other->capture->valid = false;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
      }
  enqueue(s, stream, std::move(node.run));
  return CUDA_SUCCESS;
}

static CUresult wait_for(State& s, Guard& guard, const StreamPosition& position) {
  s.changed.wait(guard, [&] { return s.lost || position.first->completed >= position.second; });
  return s.lost ? s.lost_code : CUDA_SUCCESS;
}
static CUresult wait_for_all(State& s, Guard& guard) {
  std::vector<StreamPosition> all{{s.legacy, s.legacy->submitted}};
  for (auto& [handle, stream] : s.streams) all.push_back({stream, stream->submitted});
  for (auto& position : all) wait_for(s, guard, position);
  return s.lost ? s.lost_code : CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------------------------------
// PTX.

// What the text says of its kernels. Returns false where it is no PTX.
static bool read_ptx(const char* text, std::map<std::string, Entry>& entries, int& version, int& target) {
  const char* version_text = std::strstr(text, ".version ");
  const char* target_text = std::strstr(text, ".target sm_");
  int major = 0, minor = 0;
  if (version_text) std::sscanf(version_text, ".version %d.%d", &major, &minor);
  version = major * 10 + minor;
  target = target_text ? std::atoi(target_text + 11) : 0;
  for (const char* p = text; (p = std::strstr(p, ".entry "));) {
    p += 7;
    const size_t length = std::strcspn(p, "( \t\r\n");
    Entry entry;
    const std::string name(p, length);
    const char* open = p + length + std::strspn(p + length, " \t\r\n");
    const char* end = open;
    if (*open == '(') {
      end = std::strchr(open, ')');
      if (!end) return false;
      for (const char* q = open; (q = std::strstr(q, ".param ")) && q < end;) {
        q += 7;
        size_t element = 0, count = 1;
        const char* stop = q + std::strcspn(q, ",)");
        for (const char* t = q; t < stop; t++) {
          if (*t == '.' && std::strchr("usbf", t[1]) && t[2] >= '0' && t[2] <= '9') element = static_cast<size_t>(std::atoi(t + 2)) / 8;
          if (*t == '[') count = static_cast<size_t>(std::atoi(t + 1));
        }
        entry.parameter_sizes.push_back(element * count);
      }
    }
    const char* body = std::strchr(end, '{');
    const char* next = std::strstr(end, ".entry ");
    if (!body || (next && body > next)) body = next ? next : end + std::strlen(end);
    unsigned x, y, z;
    if (const char* most = std::strstr(end, ".maxntid"); most && most < body) {
      x = y = z = 1;
      std::sscanf(most, ".maxntid %u, %u, %u", &x, &y, &z);
      entry.most_threads = x * y * z;
    }
    const char* limit = next ? next : end + std::strlen(end);
    for (const char* q = body; (q = std::strstr(q, ".shared .align ")) && q < limit; q++) {
      const char* stop = std::strchr(q, ';');
      const char* bracket = std::strchr(q, '[');
      if (bracket && stop && bracket < stop) entry.shared_bytes += static_cast<size_t>(std::atol(bracket + 1));
    }
    entries[name] = entry;
    p = end;
  }
  return !entries.empty();
}

// The newest PTX that a driver of this version reads, as 78 for 7.8.
static int newest_ptx(int driver) {
  const int major = driver / 1000, minor = driver % 1000 / 10;
  if (major <= 11) return 70 + minor;
  if (major == 12) return minor <= 5 ? 80 + minor : minor == 6 ? 85 : 79 + minor;
  return 90 + minor;
}

static CUresult load_module(State& s, Handle* result, const void* image) {
  CHECK(result && image, CUDA_ERROR_INVALID_VALUE);
  auto module = std::make_unique<Module>();
  int version, target;
  if (!read_ptx(static_cast<const char*>(image), module->entries, version, target)) {
    say("cuModuleLoadData: the image is no PTX text with kernels");
    return CUDA_ERROR_INVALID_PTX;
  }
  if (version > newest_ptx(s.driver_version)) {
    say("cuModuleLoadData: PTX %d.%d is newer than driver %d reads", version / 10, version % 10, s.driver_version);
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  if (target > s.capability_major * 10 + s.capability_minor) {
    say("cuModuleLoadData: PTX for sm_%d on a card of capability %d.%d", target, s.capability_major, s.capability_minor);
    return CUDA_ERROR_INVALID_PTX;
  }
  bool good = true;
  for (auto& [name, entry] : module->entries) {
    const twin::Kernel* kernel = twin::find_kernel(name);
    if (!kernel) {
      say("kernel %s of the PTX has no host twin", name.c_str());
      good = false;
      continue;
    }
    if (kernel->parameter_sizes != entry.parameter_sizes) {
      std::string ptx, twin;
      for (size_t n : entry.parameter_sizes) ptx += " " + std::to_string(n);
      for (size_t n : kernel->parameter_sizes) twin += " " + std::to_string(n);
      say("kernel %s has parameters of%s bytes in the PTX and of%s in its host twin", name.c_str(), ptx.c_str(), twin.c_str());
      good = false;
    }
    if (entry.shared_bytes > 48 << 10) {
      say("kernel %s has %zu bytes of shared memory, more than 48 kB", name.c_str(), entry.shared_bytes);
      good = false;
    }
  }
  CHECK(good, CUDA_ERROR_INVALID_PTX);
  *result = module.get();
  s.modules[*result] = std::move(module);
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------------------------------
// Kernels.

static CUresult launch(State& s, Handle function, twin::Dim3 grid, twin::Dim3 block, unsigned shared_bytes, Handle stream_handle, void** arguments) {
  auto found = s.functions.find(function);
  CHECK(found != s.functions.end(), CUDA_ERROR_INVALID_HANDLE);
  const Function& f = *found->second;
  const char* name = f.kernel->name;
  FIND_STREAM(stream, stream_handle);
  if (!grid.volume() || !block.volume() || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || block.x > 1024 || block.y > 1024 ||
      block.z > 64 || block.volume() > f.entry.most_threads) {
    say("launch of %s: grid (%u, %u, %u), block (%u, %u, %u), at most %u threads", name, grid.x, grid.y, grid.z, block.x, block.y, block.z,
        f.entry.most_threads);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (shared_bytes) {
    say("launch of %s: dynamic shared memory is not supported", name);
    return CUDA_ERROR_INVALID_VALUE;
  }
  CHECK(arguments || f.kernel->parameter_sizes.empty(), CUDA_ERROR_INVALID_VALUE);
  // The arguments are read now, as CUDA does. Each gets its own aligned place.
  struct Values {
    std::vector<std::unique_ptr<char[]>> storage;
    std::vector<void*> pointers;
  };
  auto values = std::make_shared<Values>();
  for (size_t i = 0; i < f.kernel->parameter_sizes.size(); i++) {
    const size_t size = f.kernel->parameter_sizes[i];
    values->storage.emplace_back(new char[size]);
    std::memcpy(values->storage.back().get(), arguments[i], size);
    values->pointers.push_back(values->storage.back().get());
  }
  const twin::Kernel* kernel = f.kernel;
  Node node{NodeKind::kKernel,
            [kernel, grid, block, values] {
              State& s = state();
              const std::string failure = twin::run_grid(*kernel, grid, block, values->pointers.data(), &s.lost);
              Guard guard(s.lock);
              s.kernels_run[kernel->name]++;
              if (!failure.empty()) {
                say("%s", failure.c_str());
                lose_device(s, CUDA_ERROR_LAUNCH_FAILED);
              }
              check_all_guards(s, (std::string("kernel ") + kernel->name).c_str());
            },
            {}};
  const bool captured = stream->capture != nullptr;
  CUresult result = submit(s, stream, std::move(node));
  if (result == CUDA_SUCCESS && !captured) s.kernel_launches++;
  return result;
}

// ---------------------------------------------------------------------------------------------------------------------
// Copies.

static void count_to_device(size_t n) {
  State& s = state();
  Guard guard(s.lock);
  s.copies_to_device++;
  s.bytes_to_device += n;
}
static void count_to_host(size_t n) {
  State& s = state();
  Guard guard(s.lock);
  s.copies_to_host++;
  s.bytes_to_host += n;
}

static CUresult copy_to_device(State& s, Guard& guard, const char* entry, CUdeviceptr to, const void* from, size_t n, Handle handle, bool wait) {
  FIND_STREAM(stream, handle);
  if (CUresult refused = check_range(s, entry, to, n)) return refused;
  if (is_pinned(s, from))
    if (CUresult refused = check_range(s, entry, reinterpret_cast<CUdeviceptr>(from), n)) return refused;
  Node node{NodeKind::kCopy, nullptr, {{to, n}}};
  if (!stream->capture && !is_pinned(s, from)) {
    // CUDA stages memory that is not pinned: the caller may change it as soon as the call returns.
    auto bytes = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(bytes, bytes + n);
    node.run = [to, staged] {
      std::memcpy(reinterpret_cast<void*>(to), staged->data(), staged->size());
      count_to_device(staged->size());
    };
  } else {
    node.run = [to, from, n] {
      std::memcpy(reinterpret_cast<void*>(to), from, n);
      count_to_device(n);
    };
  }
  if (CUresult refused = submit(s, stream, std::move(node))) return refused;
  if (!wait) return CUDA_SUCCESS;
  s.waits++;
  return wait_for(s, guard, {stream, stream->submitted});
}

static CUresult copy_to_host(State& s, Guard& guard, const char* entry, void* to, CUdeviceptr from, size_t n, Handle handle, bool wait) {
  FIND_STREAM(stream, handle);
  if (CUresult refused = check_range(s, entry, from, n)) return refused;
  const bool pinned = is_pinned(s, to);
  if (pinned)
    if (CUresult refused = check_range(s, entry, reinterpret_cast<CUdeviceptr>(to), n)) return refused;
  const bool captured = stream->capture != nullptr;
  if (pinned && !captured && !wait) std::memset(to, kPoison, n);  // what a caller sees who reads before waiting
  if (CUresult refused = submit(s, stream, {NodeKind::kCopy,
                                            [to, from, n] {
                                              std::memcpy(to, reinterpret_cast<void*>(from), n);
                                              count_to_host(n);
                                            },
                                            {{from, n}}}))
    return refused;
  if (captured || (!wait && pinned)) return CUDA_SUCCESS;
  s.waits++;
  return wait_for(s, guard, {stream, stream->submitted});
}

static CUresult copy_on_device(State& s, const char* entry, CUdeviceptr to, CUdeviceptr from, size_t n, Handle handle) {
  FIND_STREAM(stream, handle);
  if (CUresult refused = check_range(s, entry, to, n)) return refused;
  if (CUresult refused = check_range(s, entry, from, n)) return refused;
  return submit(s, stream,
                {NodeKind::kCopy, [=] { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), n); }, {{to, n}, {from, n}}});
}

template <class Value>
static CUresult set_memory(State& s, const char* entry, CUdeviceptr to, Value value, size_t count, Handle handle) {
  FIND_STREAM(stream, handle);
  CHECK(count <= SIZE_MAX / sizeof(Value) && to % sizeof(Value) == 0, CUDA_ERROR_INVALID_VALUE);
  const size_t n = count * sizeof(Value);
  if (CUresult refused = check_range(s, entry, to, n)) return refused;
  return submit(s, stream, {NodeKind::kSet,
                            [=] {
                              auto values = reinterpret_cast<Value*>(to);
                              for (size_t i = 0; i < count; i++) values[i] = value;
                            },
                            {{to, n}}});
}

// ---------------------------------------------------------------------------------------------------------------------
// The entry points.

#define ENTRY extern "C" __attribute__((visibility("default"))) CUresult

ENTRY cuInit(unsigned flags) {
  ENTER(kNothing);
  CHECK(flags == 0, CUDA_ERROR_INVALID_VALUE);
  CHECK(s.cards > 0, CUDA_ERROR_NO_DEVICE);
  s.initialised = true;
  return CUDA_SUCCESS;
}
ENTRY cuDriverGetVersion(int* version) {
  ENTER(kNothing);
  CHECK(version, CUDA_ERROR_INVALID_VALUE);
  *version = s.driver_version;
  return CUDA_SUCCESS;
}
ENTRY cuGetErrorName(CUresult code, const char** text) {
  for (auto& error : kErrors)
    if (error.code == code) return *text = error.name, CUDA_SUCCESS;
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}
ENTRY cuGetErrorString(CUresult code, const char** text) {
  for (auto& error : kErrors)
    if (error.code == code) return *text = error.text, CUDA_SUCCESS;
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}
static void* own_symbol(const char* name) {
  Dl_info self;
  if (!dladdr(reinterpret_cast<void*>(&cuGetErrorName), &self)) return nullptr;
  void* library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (!library) return nullptr;
  for (const char* suffix : {"_v3", "_v2", ""})
    if (void* found = dlsym(library, (std::string(name) + suffix).c_str())) return found;
  return nullptr;
}
ENTRY cuGetProcAddress(const char* name, void** address, int, unsigned long long) {
  CHECK(name && address, CUDA_ERROR_INVALID_VALUE);
  *address = own_symbol(name);
  return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
ENTRY cuGetProcAddress_v2(const char* name, void** address, int, unsigned long long, int* status) {
  CHECK(name && address, CUDA_ERROR_INVALID_VALUE);
  *address = own_symbol(name);
  if (status) *status = *address ? 0 : 1;
  return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// The device.

ENTRY cuDeviceGetCount(int* count) {
  ENTER(kInitialised);
  CHECK(count, CUDA_ERROR_INVALID_VALUE);
  *count = s.cards;
  return CUDA_SUCCESS;
}
ENTRY cuDeviceGet(CUdevice* device, int ordinal) {
  ENTER(kInitialised);
  CHECK(device, CUDA_ERROR_INVALID_VALUE);
  CHECK(ordinal >= 0 && ordinal < s.cards, CUDA_ERROR_INVALID_DEVICE);
  *device = ordinal;
  return CUDA_SUCCESS;
}
#define CHECK_DEVICE() CHECK(device >= 0 && device < s.cards, CUDA_ERROR_INVALID_DEVICE)
ENTRY cuDeviceGetName(char* name, int size, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  CHECK(name && size > 0, CUDA_ERROR_INVALID_VALUE);
  std::snprintf(name, static_cast<size_t>(size), "taper's stand-in for a card");
  return CUDA_SUCCESS;
}
ENTRY cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  CHECK(bytes, CUDA_ERROR_INVALID_VALUE);
  *bytes = s.memory;
  return CUDA_SUCCESS;
}
static CUresult get_uuid(State& s, unsigned char* uuid, CUdevice device) {
  CHECK_DEVICE();
  CHECK(uuid, CUDA_ERROR_INVALID_VALUE);
  std::memcpy(uuid, "taper's standin", 15);
  uuid[15] = static_cast<unsigned char>(device);
  return CUDA_SUCCESS;
}
ENTRY cuDeviceGetUuid(unsigned char* uuid, CUdevice device) {
  ENTER(kInitialised);
  return get_uuid(s, uuid, device);
}
ENTRY cuDeviceGetUuid_v2(unsigned char* uuid, CUdevice device) {
  ENTER(kInitialised);
  return get_uuid(s, uuid, device);
}
ENTRY cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  CHECK(value && attribute > 0, CUDA_ERROR_INVALID_VALUE);
  static const std::map<int, int> known = {
      {1, 1024},        // threads a block
      {2, 1024},        // block x, y, z
      {3, 1024},
      {4, 64},
      {5, 0x7fffffff},  // grid x, y, z
      {6, 65535},
      {7, 65535},
      {8, 48 << 10},    // shared memory a block
      {9, 64 << 10},    // constant memory
      {10, 32},         // warp
      {12, 65536},      // registers a block
      {13, 1410000},    // kHz
      {16, 2},          // multiprocessors
      {19, 1},          // maps host memory
      {31, 1},          // concurrent kernels
      {36, 1215000},    // memory clock, kHz
      {37, 256},        // memory bus, bits
      {38, 4 << 20},    // L2
      {39, 2048},       // threads a multiprocessor
      {40, 1},          // copy engines
      {41, 1},          // unified addressing
      {78, 1},          // stream priorities
      {81, 100 << 10},  // shared memory a multiprocessor
      {82, 65536},      // registers a multiprocessor
      {97, 48 << 10},   // shared memory a block by opting in
      {115, 1},         // memory pools
  };
  if (attribute == 75) return *value = s.capability_major, CUDA_SUCCESS;
  if (attribute == 76) return *value = s.capability_minor, CUDA_SUCCESS;
  auto found = known.find(attribute);
  *value = found == known.end() ? 0 : found->second;
  return CUDA_SUCCESS;
}

// The context. There is one: the primary context of the first card.

ENTRY cuDevicePrimaryCtxRetain(Handle* context, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  CHECK(context, CUDA_ERROR_INVALID_VALUE);
  CHECK(!s.lost, s.lost_code);
  s.primary_retained++;
  *context = kPrimaryContext;
  return CUDA_SUCCESS;
}
ENTRY cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  CHECK(s.primary_retained > 0, CUDA_ERROR_INVALID_CONTEXT);
  s.primary_retained--;
  return CUDA_SUCCESS;
}
ENTRY cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  if (flags) *flags = 0;
  if (active) *active = s.primary_retained > 0;
  return CUDA_SUCCESS;
}
ENTRY cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  return CUDA_SUCCESS;
}
ENTRY cuCtxGetCurrent(Handle* context) {
  ENTER(kInitialised);
  CHECK(context, CUDA_ERROR_INVALID_VALUE);
  *context = current_context();
  return CUDA_SUCCESS;
}
ENTRY cuCtxSetCurrent(Handle context) {
  ENTER(kInitialised);
  CHECK(!context || context == kPrimaryContext, CUDA_ERROR_INVALID_CONTEXT);
  if (!context_stack.empty()) context_stack.pop_back();
  if (context) context_stack.push_back(context);
  return CUDA_SUCCESS;
}
ENTRY cuCtxPushCurrent_v2(Handle context) {
  ENTER(kInitialised);
  CHECK(context == kPrimaryContext, CUDA_ERROR_INVALID_CONTEXT);
  context_stack.push_back(context);
  return CUDA_SUCCESS;
}
ENTRY cuCtxPopCurrent_v2(Handle* context) {
  ENTER(kInitialised);
  CHECK(!context_stack.empty(), CUDA_ERROR_INVALID_CONTEXT);
  if (context) *context = context_stack.back();
  context_stack.pop_back();
  return CUDA_SUCCESS;
}
ENTRY cuCtxGetDevice(CUdevice* device) {
  ENTER(kContext);
  CHECK(device, CUDA_ERROR_INVALID_VALUE);
  *device = 0;
  return CUDA_SUCCESS;
}
ENTRY cuCtxSetFlags(unsigned) {
  ENTER(kContext);
  return CUDA_SUCCESS;
}
ENTRY cuCtxGetLimit(size_t* value, int) {
  ENTER(kContext);
  CHECK(value, CUDA_ERROR_INVALID_VALUE);
  *value = 0;
  return CUDA_SUCCESS;
}
ENTRY cuCtxSetLimit(int, size_t) {
  ENTER(kContext);
  return CUDA_SUCCESS;
}
ENTRY cuCtxGetCacheConfig(int* config) {
  ENTER(kContext);
  CHECK(config, CUDA_ERROR_INVALID_VALUE);
  *config = 0;
  return CUDA_SUCCESS;
}
ENTRY cuCtxSetCacheConfig(int) {
  ENTER(kContext);
  return CUDA_SUCCESS;
}
ENTRY cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  ENTER(kContext);
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return CUDA_SUCCESS;
}
ENTRY cuCtxSynchronize() {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  s.waits++;
  return wait_for_all(s, guard);
}

// Modules and functions.

ENTRY cuModuleLoadData(Handle* module, const void* image) {
  ENTER(kDevice);
  return load_module(s, module, image);
}
ENTRY cuModuleLoad(Handle* module, const char* path) {
  ENTER(kDevice);
  CHECK(path, CUDA_ERROR_INVALID_VALUE);
  std::ifstream file(path);
  CHECK(file, CUDA_ERROR_FILE_NOT_FOUND);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return load_module(s, module, text.c_str());
}
ENTRY cuModuleLoadDataEx(Handle* module, const void* image, unsigned, int*, void**) {
  ENTER(kDevice);
  return load_module(s, module, image);
}
ENTRY cuModuleUnload(Handle module) {
  ENTER(kDevice);
  auto found = s.modules.find(module);
  CHECK(found != s.modules.end(), CUDA_ERROR_INVALID_HANDLE);
  for (auto& [name, function] : found->second->functions) s.functions.erase(function.get());
  s.modules.erase(found);
  return CUDA_SUCCESS;
}
ENTRY cuModuleGetFunction(Handle* function, Handle module, const char* name) {
  ENTER(kDevice);
  CHECK(function && name, CUDA_ERROR_INVALID_VALUE);
  auto found = s.modules.find(module);
  CHECK(found != s.modules.end(), CUDA_ERROR_INVALID_HANDLE);
  auto entry = found->second->entries.find(name);
  CHECK(entry != found->second->entries.end(), CUDA_ERROR_NOT_FOUND);
  auto& place = found->second->functions[name];
  if (!place) place.reset(new Function{twin::find_kernel(name), entry->second});
  *function = place.get();
  s.functions[*function] = place.get();
  return CUDA_SUCCESS;
}
ENTRY cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* size, Handle module, const char* name) {
  ENTER(kDevice);
  CHECK(name, CUDA_ERROR_INVALID_VALUE);
  CHECK(s.modules.count(module), CUDA_ERROR_INVALID_HANDLE);
  for (auto& variable : twin::variables())
    if (!std::strcmp(variable.name, name)) {
      if (address) *address = reinterpret_cast<CUdeviceptr>(variable.address);
      if (size) *size = variable.size;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_NOT_FOUND;
}
ENTRY cuFuncGetAttribute(int* value, int attribute, Handle function) {
  ENTER(kDevice);
  CHECK(value, CUDA_ERROR_INVALID_VALUE);
  auto found = s.functions.find(function);
  CHECK(found != s.functions.end(), CUDA_ERROR_INVALID_HANDLE);
  const Entry& entry = found->second->entry;
  switch (attribute) {
    case 0: *value = static_cast<int>(entry.most_threads); break;
    case 1: *value = static_cast<int>(entry.shared_bytes); break;
    case 4: *value = 32; break;  // registers: nobody knows here
    case 5: *value = 75; break;
    case 6: *value = s.capability_major * 10 + s.capability_minor; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}
ENTRY cuFuncSetAttribute(Handle function, int, int) {
  ENTER(kDevice);
  CHECK(s.functions.count(function), CUDA_ERROR_INVALID_HANDLE);
  return CUDA_SUCCESS;
}
ENTRY cuFuncSetCacheConfig(Handle function, int) {
  ENTER(kDevice);
  CHECK(s.functions.count(function), CUDA_ERROR_INVALID_HANDLE);
  return CUDA_SUCCESS;
}
ENTRY cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Handle function, int threads, size_t) {
  ENTER(kDevice);
  CHECK(blocks && threads > 0, CUDA_ERROR_INVALID_VALUE);
  CHECK(s.functions.count(function), CUDA_ERROR_INVALID_HANDLE);
  *blocks = 2048 / threads;
  return CUDA_SUCCESS;
}

// Memory.

static CUresult release(State& s, Guard& guard, CUdeviceptr p, bool host) {
  auto found = s.live.find(p);
  CHECK(found != s.live.end() && found->second.host == host, CUDA_ERROR_INVALID_VALUE);
  wait_for_all(s, guard);  // CUDA waits for the device here
  found = s.live.find(p);
  CHECK(found != s.live.end(), CUDA_ERROR_INVALID_VALUE);
  const Allocation allocation = found->second;
  s.live.erase(found);
  if (!host) s.used -= allocation.size;
  s.frees++;
  discard(s, p, allocation);
  return CUDA_SUCCESS;
}
ENTRY cuMemAlloc_v2(CUdeviceptr* p, size_t size) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return allocate(s, p, size, false);
}
ENTRY cuMemAllocManaged(CUdeviceptr* p, size_t size, unsigned) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return allocate(s, p, size, false);
}
ENTRY cuMemAllocAsync(CUdeviceptr* p, size_t size, Handle stream_handle) {
  ENTER(kDevice);
  FIND_STREAM(stream, stream_handle);
  NOT_IN_CAPTURE();
  CHECK(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return allocate(s, p, size, false);
}
ENTRY cuMemFree_v2(CUdeviceptr p) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return p ? release(s, guard, p, false) : CUDA_SUCCESS;
}
ENTRY cuMemFreeAsync(CUdeviceptr p, Handle stream_handle) {
  ENTER(kDevice);
  FIND_STREAM(stream, stream_handle);
  NOT_IN_CAPTURE();
  CHECK(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  auto found = s.live.find(p);
  CHECK(found != s.live.end() && !found->second.host, CUDA_ERROR_INVALID_VALUE);
  const Allocation allocation = found->second;
  s.live.erase(found);
  s.used -= allocation.size;
  s.frees++;
  enqueue(s, stream, [p, allocation] {
    State& s = state();
    Guard guard(s.lock);
    discard(s, p, allocation);
  });
  return CUDA_SUCCESS;
}
ENTRY cuMemHostAlloc(void** p, size_t size, unsigned) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  CUdeviceptr address = 0;
  CUresult result = allocate(s, &address, size, true);
  if (result == CUDA_SUCCESS) *p = reinterpret_cast<void*>(address);
  return result;
}
ENTRY cuMemAllocHost_v2(void** p, size_t size) { return cuMemHostAlloc(p, size, 0); }
ENTRY cuMemFreeHost(void* p) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return release(s, guard, reinterpret_cast<CUdeviceptr>(p), true);
}
ENTRY cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* host, unsigned) {
  ENTER(kDevice);
  CHECK(device && is_pinned(s, host), CUDA_ERROR_INVALID_VALUE);
  *device = reinterpret_cast<CUdeviceptr>(host);
  return CUDA_SUCCESS;
}
ENTRY cuMemGetInfo_v2(size_t* free, size_t* total) {
  ENTER(kDevice);
  if (free) *free = s.memory - s.used;
  if (total) *total = s.memory;
  return CUDA_SUCCESS;
}
// Memory pools: there is one, and what it is told does not matter here.
static const Handle kPool = reinterpret_cast<Handle>(0x9001);
ENTRY cuDeviceGetDefaultMemPool(Handle* pool, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  *pool = kPool;
  return CUDA_SUCCESS;
}
ENTRY cuDeviceGetMemPool(Handle* pool, CUdevice device) {
  ENTER(kInitialised);
  CHECK_DEVICE();
  *pool = kPool;
  return CUDA_SUCCESS;
}
ENTRY cuMemPoolSetAttribute(Handle pool, int, void*) {
  ENTER(kDevice);
  CHECK(pool == kPool, CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}
ENTRY cuMemPoolTrimTo(Handle pool, size_t) {
  ENTER(kDevice);
  CHECK(pool == kPool, CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

ENTRY cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t n) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return copy_to_device(s, guard, __func__, to, from, n, nullptr, true);
}
ENTRY cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, Handle stream) {
  ENTER(kDevice);
  return copy_to_device(s, guard, __func__, to, from, n, stream, false);
}
ENTRY cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t n) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return copy_to_host(s, guard, __func__, to, from, n, nullptr, true);
}
ENTRY cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, Handle stream) {
  ENTER(kDevice);
  return copy_to_host(s, guard, __func__, to, from, n, stream, false);
}
ENTRY cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return copy_on_device(s, __func__, to, from, n, nullptr);
}
ENTRY cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, Handle stream) {
  ENTER(kDevice);
  return copy_on_device(s, __func__, to, from, n, stream);
}
ENTRY cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return set_memory(s, __func__, to, value, count, nullptr);
}
ENTRY cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, Handle stream) {
  ENTER(kDevice);
  return set_memory(s, __func__, to, value, count, stream);
}
ENTRY cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  ENTER(kDevice);
  NOT_IN_CAPTURE();
  return set_memory(s, __func__, to, value, count, nullptr);
}
ENTRY cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, Handle stream) {
  ENTER(kDevice);
  return set_memory(s, __func__, to, value, count, stream);
}

// Streams.

static CUresult create_stream(State& s, Handle* result, unsigned flags) {
  CHECK(result && flags <= 1, CUDA_ERROR_INVALID_VALUE);
  auto stream = std::make_shared<Stream>();
  stream->blocking = !(flags & 1);  // CU_STREAM_NON_BLOCKING
  *result = stream.get();
  s.streams[*result] = stream;
  return CUDA_SUCCESS;
}
ENTRY cuStreamCreate(Handle* stream, unsigned flags) {
  ENTER(kDevice);
  return create_stream(s, stream, flags);
}
ENTRY cuStreamCreateWithPriority(Handle* stream, unsigned flags, int) {
  ENTER(kDevice);
  return create_stream(s, stream, flags);
}
ENTRY cuStreamDestroy_v2(Handle handle) {
  ENTER(kDevice);
  auto found = s.streams.find(handle);
  CHECK(found != s.streams.end(), CUDA_ERROR_INVALID_HANDLE);
  if (found->second->capture) {
    found->second->capture->valid = false;
    if (found->second->capture->origin == found->second.get()) s.captures.erase(found->second->capture);
  }
  found->second->destroyed = true;  // its thread ends when the queue is empty
  s.streams.erase(found);
  s.changed.notify_all();
  return CUDA_SUCCESS;
}
ENTRY cuStreamSynchronize(Handle handle) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  NOT_IN_CAPTURE();
  CHECK(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  s.waits++;
  if (stream == s.legacy) {
    std::vector<StreamPosition> all{{s.legacy, s.legacy->submitted}};
    for (auto& [key, other] : s.streams)
      if (other->blocking) all.push_back({other, other->submitted});
    for (auto& position : all)
      if (CUresult result = wait_for(s, guard, position)) return result;
    return CUDA_SUCCESS;
  }
  return wait_for(s, guard, {stream, stream->submitted});
}
ENTRY cuStreamQuery(Handle handle) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  NOT_IN_CAPTURE();
  CHECK(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return stream->completed < stream->submitted ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
ENTRY cuLaunchHostFunc(Handle handle, void (*call)(void*), void* data) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  CHECK(call, CUDA_ERROR_INVALID_VALUE);
  return submit(s, stream, {NodeKind::kHost, [call, data] { call(data); }, {}});
}

#define FIND_EVENT(name, handle)                                \
  auto name##_found = s.events.find(handle);                    \
  CHECK(name##_found != s.events.end(), CUDA_ERROR_INVALID_HANDLE); \
  auto name = name##_found->second

ENTRY cuStreamWaitEvent(Handle handle, Handle event_handle, unsigned) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  FIND_EVENT(event, event_handle);
  if (event->capture) {
    // The stream joins the capture that the event belongs to, or comes to wait for a stream that joined it.
    CHECK(event->capture->valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(stream != s.legacy, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (stream->capture && stream->capture != event->capture) {
      stream->capture->valid = event->capture->valid = false;
      return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (!s.captures.count(event->capture)) return CUDA_SUCCESS;  // that capture is over
    if (!stream->capture) {
      stream->capture = event->capture;
      stream->captured = 1;  // the joining itself must be joined again
      stream->joined = 0;
    }
    if (event->captured_on && event->captured_on != stream.get()) {
      auto other = s.streams.find(event->captured_on);
      if (other != s.streams.end()) other->second->joined = std::max(other->second->joined, event->captured_position);
    }
    return CUDA_SUCCESS;
  }
  if (!event->recorded) return CUDA_SUCCESS;
  if (stream->capture) {
    stream->capture->valid = false;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  enqueue(s, stream, [] {}, {event->position});
  return CUDA_SUCCESS;
}

// Captures and graphs.

ENTRY cuStreamBeginCapture_v2(Handle handle, int mode) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  CHECK(mode >= 0 && mode <= 2, CUDA_ERROR_INVALID_VALUE);
  CHECK(stream != s.legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(!stream->capture, CUDA_ERROR_ILLEGAL_STATE);
  stream->capture = std::make_shared<Capture>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->origin = stream.get();
  stream->captured = stream->joined = 0;
  s.captures.insert(stream->capture);
  return CUDA_SUCCESS;
}
ENTRY cuStreamEndCapture(Handle handle, Handle* graph) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  CHECK(graph, CUDA_ERROR_INVALID_VALUE);
  *graph = nullptr;
  auto capture = stream->capture;
  CHECK(capture, CUDA_ERROR_ILLEGAL_STATE);
  if (capture->origin != stream.get()) {
    capture->valid = false;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  if (capture->mode != 2 && capture->thread != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  bool joined = true;
  for (auto& [key, other] : s.streams)
    if (other->capture == capture) {
      if (other != stream && other->joined < other->captured) joined = false;
      other->capture = nullptr;
    }
  s.captures.erase(capture);
  CHECK(capture->valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(joined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  auto result = std::make_shared<Graph>();
  result->nodes = std::move(capture->nodes);
  *graph = result.get();
  s.graphs[*graph] = result;
  return CUDA_SUCCESS;
}
static int capture_status(const Stream& stream) { return !stream.capture ? 0 : stream.capture->valid ? 1 : 2; }
ENTRY cuStreamIsCapturing(Handle handle, int* status) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  CHECK(status, CUDA_ERROR_INVALID_VALUE);
  *status = capture_status(*stream);
  return CUDA_SUCCESS;
}
ENTRY cuStreamGetCaptureInfo_v2(Handle handle, int* status, unsigned long long* id, Handle* graph, const Handle** dependencies, size_t* count) {
  ENTER(kDevice);
  FIND_STREAM(stream, handle);
  CHECK(status, CUDA_ERROR_INVALID_VALUE);
  *status = capture_status(*stream);
  if (id) *id = reinterpret_cast<unsigned long long>(stream->capture.get());
  if (graph) *graph = nullptr;
  if (dependencies) *dependencies = nullptr;
  if (count) *count = 0;
  return CUDA_SUCCESS;
}
#define FIND_GRAPH(name, map, handle)                            \
  auto name##_found = s.map.find(handle);                        \
  CHECK(name##_found != s.map.end(), CUDA_ERROR_INVALID_HANDLE); \
  auto name = name##_found->second

static CUresult instantiate(State& s, Handle* executable, Handle graph_handle) {
  CHECK(executable, CUDA_ERROR_INVALID_VALUE);
  FIND_GRAPH(graph, graphs, graph_handle);
  auto copy = std::make_shared<Graph>(*graph);
  size_t kernel_nodes = 0;
  for (auto& node : copy->nodes) kernel_nodes += node.kind == NodeKind::kKernel;
  s.graph_kernels.push_back(kernel_nodes);
  *executable = copy.get();
  s.executables[*executable] = copy;
  return CUDA_SUCCESS;
}
ENTRY cuGraphInstantiateWithFlags(Handle* executable, Handle graph, unsigned long long) {
  ENTER(kDevice);
  return instantiate(s, executable, graph);
}
ENTRY cuGraphInstantiate_v2(Handle* executable, Handle graph, Handle* error_node, char*, size_t) {
  ENTER(kDevice);
  if (error_node) *error_node = nullptr;
  return instantiate(s, executable, graph);
}
ENTRY cuGraphUpload(Handle executable_handle, Handle stream_handle) {
  ENTER(kDevice);
  FIND_GRAPH(executable, executables, executable_handle);
  FIND_STREAM(stream, stream_handle);
  CHECK(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return CUDA_SUCCESS;
}
ENTRY cuGraphLaunch(Handle executable_handle, Handle stream_handle) {
  ENTER(kDevice);
  FIND_GRAPH(executable, executables, executable_handle);
  FIND_STREAM(stream, stream_handle);
  for (auto& node : executable->nodes)
    for (auto& range : node.touched)
      if (!is_alive(s, range.begin, range.size)) {
        say("cuGraphLaunch: a node of the graph touches memory that was freed");
        s.invalid_accesses++;
        lose_device(s, CUDA_ERROR_ILLEGAL_ADDRESS);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      }
  if (stream->capture) {
    CHECK(stream->capture->valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    auto& nodes = stream->capture->nodes;
    nodes.insert(nodes.end(), executable->nodes.begin(), executable->nodes.end());
    stream->captured++;
    return CUDA_SUCCESS;
  }
  CUresult result = submit(s, stream, {NodeKind::kHost,
                                       [executable] {
                                         State& s = state();
                                         auto loses_now = [&s](long runs) {
                                           Guard guard(s.lock);
                                           s.graph_runs += runs;
                                           if (s.lost_after < 0 || s.graph_runs < s.lost_after) return;
                                           if (!s.lost) say("the device is lost, as TAPER_TWIN_LOST_AFTER asks");
                                           lose_device(s, CUDA_ERROR_LAUNCH_FAILED);
                                         };
                                         if (s.lost_after == 0) loses_now(0);
                                         for (auto& node : executable->nodes)
                                           if (!s.lost) node.run();
                                         if (!s.lost) loses_now(1);
                                       },
                                       {}});
  if (result == CUDA_SUCCESS) s.graph_launches++;
  return result;
}
ENTRY cuGraphGetNodes(Handle graph_handle, Handle* nodes, size_t* count) {
  ENTER(kDevice);
  FIND_GRAPH(graph, graphs, graph_handle);
  CHECK(count, CUDA_ERROR_INVALID_VALUE);
  if (nodes) {
    for (size_t i = 0; i < *count; i++) nodes[i] = i < graph->nodes.size() ? &graph->nodes[i] : nullptr;
    *count = std::min(*count, graph->nodes.size());
  } else {
    *count = graph->nodes.size();
  }
  return CUDA_SUCCESS;
}
ENTRY cuGraphNodeGetType(Handle node, int* type) {
  ENTER(kDevice);
  CHECK(type, CUDA_ERROR_INVALID_VALUE);
  for (auto& [key, graph] : s.graphs)
    for (auto& candidate : graph->nodes)
      if (&candidate == node) return *type = static_cast<int>(candidate.kind), CUDA_SUCCESS;
  return CUDA_ERROR_INVALID_VALUE;
}
ENTRY cuGraphDestroy(Handle graph) {
  ENTER(kDevice);
  return s.graphs.erase(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
ENTRY cuGraphExecDestroy(Handle executable) {
  ENTER(kDevice);
  return s.executables.erase(executable) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// Events.

ENTRY cuEventCreate(Handle* result, unsigned flags) {
  ENTER(kDevice);
  CHECK(result && flags < 8, CUDA_ERROR_INVALID_VALUE);
  auto event = std::make_shared<Event>();
  event->timing = !(flags & 2);  // CU_EVENT_DISABLE_TIMING
  *result = event.get();
  s.events[*result] = event;
  return CUDA_SUCCESS;
}
ENTRY cuEventDestroy_v2(Handle event) {
  ENTER(kDevice);
  return s.events.erase(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
ENTRY cuEventRecord(Handle event_handle, Handle stream_handle) {
  ENTER(kDevice);
  FIND_EVENT(event, event_handle);
  FIND_STREAM(stream, stream_handle);
  if (stream->capture) {
    CHECK(stream->capture->valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    event->capture = stream->capture;
    event->captured_on = stream.get();
    event->captured_position = stream->captured;
    return CUDA_SUCCESS;
  }
  event->capture = nullptr;
  auto time = std::make_shared<EventTime>();
  enqueue(s, stream, [time] {
    Guard guard(state().lock);
    time->set = true;
    time->time = Clock::now();
  });
  event->recorded = true;
  event->time = time;
  event->position = {stream, stream->submitted};
  return CUDA_SUCCESS;
}
ENTRY cuEventQuery(Handle event_handle) {
  ENTER(kDevice);
  FIND_EVENT(event, event_handle);
  CHECK(!event->capture, CUDA_ERROR_CAPTURED_EVENT);
  NOT_IN_CAPTURE();
  return event->recorded && event->position.first->completed < event->position.second ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
ENTRY cuEventSynchronize(Handle event_handle) {
  ENTER(kDevice);
  FIND_EVENT(event, event_handle);
  NOT_IN_CAPTURE();
  CHECK(!event->capture, CUDA_ERROR_CAPTURED_EVENT);
  s.waits++;
  return event->recorded ? wait_for(s, guard, StreamPosition(event->position)) : CUDA_SUCCESS;
}
static CUresult elapsed(State& s, float* milliseconds, Handle from_handle, Handle to_handle) {
  CHECK(milliseconds, CUDA_ERROR_INVALID_VALUE);
  FIND_EVENT(from, from_handle);
  FIND_EVENT(to, to_handle);
  CHECK(from->timing && to->timing && from->recorded && to->recorded, CUDA_ERROR_INVALID_HANDLE);
  CHECK(from->time->set && to->time->set, CUDA_ERROR_NOT_READY);
  *milliseconds = std::chrono::duration<float, std::milli>(to->time->time - from->time->time).count();
  return CUDA_SUCCESS;
}
ENTRY cuEventElapsedTime(float* milliseconds, Handle from, Handle to) {
  ENTER(kDevice);
  return elapsed(s, milliseconds, from, to);
}
ENTRY cuEventElapsedTime_v2(float* milliseconds, Handle from, Handle to) {
  ENTER(kDevice);
  return elapsed(s, milliseconds, from, to);
}

// Launches.

ENTRY cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                     unsigned shared_bytes, Handle stream, void** arguments, void** extra) {
  ENTER(kDevice);
  CHECK(!extra, CUDA_ERROR_NOT_SUPPORTED);
  return launch(s, function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, stream, arguments);
}
