// The program behind twin_test.sh: loads the stand-in as a program loads CUDA's driver, and runs the test that it is told.
//
//   twin_test LIBCUDA PTX_FILE TEST
//
// Exits with 0 where the test passed, with 1 and a line on stderr where not.
#include <dlfcn.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

using Pointer = unsigned long long;
using Handle = void*;

static void* library;
template <class... A>
static int call(const char* name, A... values) {
  auto function = reinterpret_cast<int (*)(A...)>(dlsym(library, name));
  if (!function) std::fprintf(stderr, "no %s\n", name), std::exit(1);
  return function(values...);
}
#define FAIL(...) (std::fprintf(stderr, "line %d: ", __LINE__), std::fprintf(stderr, __VA_ARGS__), std::fputc('\n', stderr), std::exit(1))
#define EXPECT(condition) \
  if (!(condition)) FAIL("not so: %s", #condition)
template <class... A>
static void expect_code(int line, int expected, const char* name, A... values) {
  if (int code = call(name, values...); code != expected) {
    std::fprintf(stderr, "line %d: %s returned %d, not %d\n", line, name, code, expected);
    std::exit(1);
  }
}
#define CODE(expected, ...) expect_code(__LINE__, expected, __VA_ARGS__)
#define OK(...) CODE(0, __VA_ARGS__)

static std::string ptx;
static Handle module, stream;

static void start() {
  OK("cuInit", 0u);
  Handle context;
  OK("cuDevicePrimaryCtxRetain", &context, 0);
  OK("cuCtxSetCurrent", context);
  OK("cuModuleLoadData", &module, static_cast<const void*>(ptx.c_str()));
  OK("cuStreamCreate", &stream, 1u);
}
static Pointer allocate(size_t size) {
  Pointer p;
  OK("cuMemAllocAsync", &p, size, stream);
  return p;
}
template <class T>
static Pointer upload(const std::vector<T>& values) {
  const size_t size = values.size() * sizeof(T);
  Pointer p = allocate(size);
  OK("cuMemcpyHtoDAsync_v2", p, static_cast<const void*>(values.data()), size, stream);
  return p;
}
template <class T>
static std::vector<T> download(Pointer p, size_t n) {
  std::vector<T> values(n);
  OK("cuMemcpyDtoHAsync_v2", static_cast<void*>(values.data()), p, n * sizeof(T), stream);
  OK("cuStreamSynchronize", stream);
  return values;
}
template <class... A>
static int try_launch(const char* kernel, unsigned blocks, unsigned threads, A... values) {
  Handle function;
  OK("cuModuleGetFunction", &function, module, kernel);
  void* arguments[] = {&values..., nullptr};
  return call("cuLaunchKernel", function, blocks, 1u, 1u, threads, 1u, 1u, 0u, stream, static_cast<void**>(arguments), static_cast<void**>(nullptr));
}
template <class... A>
static void launch(const char* kernel, unsigned blocks, unsigned threads, A... values) {
  if (int code = try_launch(kernel, blocks, threads, values...)) FAIL("launch of %s: %d", kernel, code);
}
static Handle capture_steps(Pointer counter, unsigned steps, unsigned wait) {
  Handle graph, executable;
  OK("cuStreamBeginCapture_v2", stream, 1);
  for (unsigned i = 0; i < steps; i++) launch("step", 1, 1, counter, wait);
  OK("cuStreamEndCapture", stream, &graph);
  size_t nodes = 0;
  OK("cuGraphGetNodes", graph, static_cast<Handle*>(nullptr), &nodes);
  EXPECT(nodes == steps);
  OK("cuGraphInstantiateWithFlags", &executable, graph, 0ull);
  OK("cuGraphDestroy", graph);
  return executable;
}

static void sums() {
  start();
  const unsigned n = 1000, blocks = 37;
  std::vector<float> x(n * blocks);
  for (size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>((i * 7919) % 101) - 50.f;  // sums are exact
  Pointer in = upload(x), out = allocate(blocks * sizeof(float));
  for (unsigned threads : {32u, 96u, 256u, 1024u}) {
    launch("block_sum", blocks, threads, n, in, out);
    auto result = download<float>(out, blocks);
    for (unsigned b = 0; b < blocks; b++) {
      float plain = 0;
      for (unsigned i = 0; i < n; i++) plain += x[b * n + i];
      if (result[b] != plain) FAIL("block %u of %u threads: %g, not %g", b, threads, result[b], plain);
    }
  }
  launch("neighbours_right", 1, 256, upload(std::vector<float>(256, 1.f)), allocate(1024));
  OK("cuCtxSynchronize");
}

static int wrong_neighbours(const char* kernel) {
  start();
  std::vector<float> x(256);
  for (int i = 0; i < 256; i++) x[i] = static_cast<float>(i);
  Pointer in = upload(x), out = allocate(1024);
  int wrong = 0;
  for (int turn = 0; turn < 2; turn++) {
    launch(kernel, 1, 256, in, out);
    auto result = download<float>(out, 256);
    for (int i = 0; i < 256; i++) wrong += result[i] != x[(i + 255) % 256] + x[(i + 1) % 256];
  }
  return wrong;
}
static void barrier_kept() { EXPECT(wrong_neighbours("neighbours_right") == 0); }
static void barrier_removed() { EXPECT(wrong_neighbours("neighbours_race") > 0); }

static void lost(const char* kernel, unsigned threads) {
  start();
  launch(kernel, 1, threads, allocate(1024));
  CODE(719, "cuStreamSynchronize", stream);
  CODE(719, "cuCtxSynchronize");
  Pointer p;
  CODE(719, "cuMemAlloc_v2", &p, size_t{4});
}
static void lost_barrier() { lost("lost_barrier", 64); }
static void lost_lane() { lost("lost_lane", 32); }

static void past_end() {
  start();
  const unsigned n = 100;
  launch("past_end", 1, 32, n, allocate(n * sizeof(float)));
  CODE(700, "cuStreamSynchronize", stream);
}
static void shared_past_end() {
  start();
  launch("shared_past_end", 1, 64, allocate(1024));
  OK("cuStreamSynchronize", stream);
}

static void shared_index_past_end() {
  start();
  launch("shared_index_past_end", 1, 64, allocate(1024));
  OK("cuStreamSynchronize", stream);
}

static void shared_unwritten() {
  start();
  Pointer out = allocate(256);
  for (int i = 0; i < 3; i++) {
    launch("shared_unwritten", 1, 64, out);
    for (float value : download<float>(out, 64)) EXPECT(std::isnan(value));
  }
}

static void mma() {
  start();
  auto bf16 = [](float v) {
    unsigned bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<unsigned short>(bits >> 16);
  };
  std::vector<float> a(256), b(128);
  std::vector<unsigned short> a16(256), b16(128);
  for (int i = 0; i < 256; i++) a[i] = static_cast<float>((i * 7) % 13 - 6), a16[i] = bf16(a[i]);
  for (int i = 0; i < 128; i++) b[i] = static_cast<float>((i * 5) % 11 - 5), b16[i] = bf16(b[i]);
  Pointer d = allocate(512);
  launch("mma_tile", 1, 32, upload(a16), upload(b16), d);
  auto result = download<float>(d, 128);
  for (int row = 0; row < 16; row++)
    for (int column = 0; column < 8; column++) {
      float plain = static_cast<float>(row / 8 * 2 + column % 2);
      for (int k = 0; k < 16; k++) plain += a[row * 16 + k] * b[k * 8 + column];
      if (result[row * 8 + column] != plain) FAIL("(%d, %d): %g, not %g", row, column, result[row * 8 + column], plain);
    }
}

static void exchanges() {
  start();
  Pointer out = allocate(32 * 16 * 8);
  launch("exchanges", 1, 32, out);
  auto o = download<unsigned long long>(out, 32 * 16);
  unsigned seen = 0;
  for (unsigned lane = 0; lane < 32; lane++) {
    auto* v = &o[lane * 16];
    EXPECT(v[0] == 21);
    EXPECT(v[1] == (lane ^ 5));
    EXPECT(v[2] == (lane + 9 < 32 ? lane + 9 : lane));
    EXPECT(v[3] == (lane < 2 ? lane : lane - 2));
    EXPECT(v[4] == (lane ^ 1));
    EXPECT(v[5] == 0x49249249u);
    EXPECT(v[6] == 1 && v[7] == 0);
    EXPECT(v[8] == (lane < 8 ? lane + 8 : lane < 16 ? lane : 31));
    seen |= 1u << v[9];
    EXPECT(v[10] == 0 && v[11] == 0x7fffffff);
    EXPECT(v[12] == (lane < 3 ? 3 : lane > 20 ? 20 : lane));
    float fused = std::fma(1.f + 0x1p-12f, 1.f + 0x1p-12f, -1.f);
    EXPECT(!std::memcmp(&v[13], &fused, 4));
    EXPECT(v[14] == (lane | static_cast<unsigned long long>(lane + 1) << 32));
  }
  EXPECT(seen == 0xffffffffu);
  Pointer variable;
  size_t size;
  OK("cuModuleGetGlobal_v2", &variable, &size, module, "launches_seen");
  EXPECT(size == 4 && download<unsigned>(variable, 1)[0] == 32);
  OK("cuMemsetD32Async", variable, 7u, size_t{1}, stream);
  EXPECT(download<unsigned>(variable, 1)[0] == 7);
}

static void capture() {
  start();
  Pointer counter = upload(std::vector<unsigned>{0});
  void* pinned;
  OK("cuMemHostAlloc", &pinned, size_t{64}, 2u);
  OK("cuStreamSynchronize", stream);
  // In a graph nothing runs until it is launched, and then all of it each time.
  Handle executable = capture_steps(counter, 3, 0);
  EXPECT(download<unsigned>(counter, 1)[0] == 0);
  for (int i = 0; i < 4; i++) OK("cuGraphLaunch", executable, stream);
  EXPECT(download<unsigned>(counter, 1)[0] == 12);
  // What waits, allocates or frees is refused, and breaks the capture.
  Pointer p = allocate(64), other;
  Handle event, graph = nullptr;
  unsigned word = 0;
  OK("cuEventCreate", &event, 0u);
  const std::map<std::string, std::function<int()>> refused = {
      {"cuStreamSynchronize", [&] { return call("cuStreamSynchronize", stream); }},
      {"cuCtxSynchronize", [&] { return call("cuCtxSynchronize"); }},
      {"cuEventSynchronize", [&] { return call("cuEventSynchronize", event); }},
      {"cuMemAlloc_v2", [&] { return call("cuMemAlloc_v2", &other, size_t{64}); }},
      {"cuMemAllocAsync", [&] { return call("cuMemAllocAsync", &other, size_t{64}, stream); }},
      {"cuMemFree_v2", [&] { return call("cuMemFree_v2", p); }},
      {"cuMemFreeAsync", [&] { return call("cuMemFreeAsync", p, stream); }},
      {"cuMemHostAlloc", [&] { return call("cuMemHostAlloc", &pinned, size_t{64}, 0u); }},
      {"cuMemFreeHost", [&] { return call("cuMemFreeHost", pinned); }},
      {"cuMemcpyHtoD_v2", [&] { return call("cuMemcpyHtoD_v2", p, static_cast<const void*>(&word), size_t{4}); }},
      {"cuMemcpyDtoH_v2", [&] { return call("cuMemcpyDtoH_v2", static_cast<void*>(&word), p, size_t{4}); }},
  };
  for (int mode : {0, 1})
    for (auto& [name, act] : refused) {
      int status = 0;
      OK("cuStreamBeginCapture_v2", stream, mode);
      OK("cuStreamIsCapturing", stream, &status);
      EXPECT(status == 1);
      launch("step", 1, 1, counter, 0u);
      if (int code = act(); code != 900) FAIL("%s in a capture: %d", name.c_str(), code);
      OK("cuStreamIsCapturing", stream, &status);
      EXPECT(status == 2);
      CODE(901, "cuStreamEndCapture", stream, &graph);
      EXPECT(!graph);
    }
  // Thread-local mode lets other threads be, global mode does not.
  for (int mode : {0, 1}) {
    OK("cuStreamBeginCapture_v2", stream, mode);
    int code = -1;
    std::thread([&] {
      Handle context;
      OK("cuDevicePrimaryCtxRetain", &context, 0);
      CODE(201, "cuCtxSynchronize");  // this thread has no context yet
      OK("cuCtxSetCurrent", context);
      code = call("cuCtxSynchronize");
    }).join();
    EXPECT(code == (mode == 0 ? 900 : 0));
    CODE(mode == 0 ? 901 : 0, "cuStreamEndCapture", stream, &graph);
  }
  // A second stream joins by an event, and must come back.
  Handle side, joined;
  OK("cuStreamCreate", &side, 1u);
  OK("cuEventCreate", &joined, 2u);
  for (bool back : {true, false}) {
    OK("cuStreamBeginCapture_v2", stream, 1);
    OK("cuEventRecord", event, stream);
    OK("cuStreamWaitEvent", side, event, 0u);
    OK("cuMemsetD8Async", p, static_cast<unsigned char>(1), size_t{8}, side);
    OK("cuEventRecord", joined, side);
    if (back) OK("cuStreamWaitEvent", stream, joined, 0u);
    CODE(back ? 0 : 904, "cuStreamEndCapture", stream, &graph);
  }
  // A graph whose memory has been freed.
  OK("cuStreamBeginCapture_v2", stream, 1);
  OK("cuMemsetD8Async", p, static_cast<unsigned char>(1), size_t{8}, stream);
  OK("cuStreamEndCapture", stream, &graph);
  OK("cuGraphInstantiateWithFlags", &executable, graph, 0ull);
  OK("cuMemFreeAsync", p, stream);
  CODE(700, "cuGraphLaunch", executable, stream);
}

static void streams() {
  start();
  // A launch returns at once, and the host sees mapped memory change.
  unsigned* counter;
  Pointer mapped;
  OK("cuMemHostAlloc", reinterpret_cast<void**>(&counter), size_t{4}, 2u);
  OK("cuMemHostGetDevicePointer_v2", &mapped, static_cast<void*>(counter), 0u);
  *counter = 0;
  Handle executable = capture_steps(mapped, 5, 40'000'000);
  Handle begin, end;
  OK("cuEventCreate", &begin, 0u);
  OK("cuEventCreate", &end, 0u);
  OK("cuEventRecord", begin, stream);
  OK("cuGraphLaunch", executable, stream);
  OK("cuEventRecord", end, stream);
  CODE(600, "cuStreamQuery", stream);
  CODE(600, "cuEventQuery", end);
  bool between = false;
  for (unsigned seen; (seen = __atomic_load_n(counter, __ATOMIC_SEQ_CST)) < 5;) between |= seen > 0;
  EXPECT(between);
  OK("cuEventSynchronize", end);
  OK("cuStreamQuery", stream);
  float milliseconds = 0;
  OK("cuEventElapsedTime", &milliseconds, begin, end);
  EXPECT(milliseconds >= 199 && milliseconds < 10000);
  // Another stream waits for an event, and only for that.
  Handle other;
  OK("cuStreamCreate", &other, 1u);
  unsigned* copy;
  OK("cuMemHostAlloc", reinterpret_cast<void**>(&copy), size_t{4}, 0u);
  OK("cuGraphLaunch", executable, stream);
  OK("cuEventRecord", end, stream);
  OK("cuMemcpyDtoHAsync_v2", static_cast<void*>(copy), mapped, size_t{4}, other);
  OK("cuStreamSynchronize", other);
  EXPECT(*copy < 10);
  OK("cuStreamWaitEvent", other, end, 0u);
  OK("cuMemcpyDtoHAsync_v2", static_cast<void*>(copy), mapped, size_t{4}, other);
  EXPECT(*copy == 0xffffffffu);  // read without waiting
  OK("cuStreamSynchronize", other);
  EXPECT(*copy == 10);
  // A synchronous copy does not wait for a stream that is non-blocking.
  OK("cuGraphLaunch", executable, stream);
  unsigned value = 0;
  OK("cuMemcpyDtoH_v2", static_cast<void*>(&value), mapped, size_t{4});
  EXPECT(value < 15);
  OK("cuStreamSynchronize", stream);
}

static void memory() {
  start();
  for (unsigned word : download<unsigned>(allocate(400), 100)) EXPECT(word == 0xffffffffu);  // fresh memory
  Pointer p = upload(std::vector<unsigned>(100, 5));
  OK("cuStreamSynchronize", stream);
  unsigned word;
  CODE(1, "cuMemcpyDtoH_v2", static_cast<void*>(&word), p + 400, size_t{4});
  CODE(1, "cuMemcpyDtoH_v2", static_cast<void*>(&word), p + 398, size_t{4});
  CODE(1, "cuMemsetD8Async", p, static_cast<unsigned char>(0), size_t{401}, stream);
  CODE(1, "cuMemsetD32Async", p + 4, 0u, size_t{100}, stream);
  OK("cuMemcpyDtoH_v2", static_cast<void*>(&word), p + 396, size_t{4});
  EXPECT(word == 5);
  EXPECT(try_launch("step", 1, 1025, p, 0u) == 1);
  EXPECT(try_launch("step", 0, 1, p, 0u) == 1);
  EXPECT(try_launch("step", 1, 129, p, 0u) == 1);  // .maxntid
  size_t free, total;
  OK("cuMemGetInfo_v2", &free, &total);
  EXPECT(total == 1'000'000 && free == total - 800);
  Pointer large;
  CODE(2, "cuMemAlloc_v2", &large, free + 1);
  OK("cuMemAlloc_v2", &large, free);
  OK("cuMemFree_v2", large);
  CODE(1, "cuMemFree_v2", large);
}

// A kernel that still holds the address of freed memory reads NaNs.
static void freed_read() {
  start();
  Pointer p = upload(std::vector<float>(32, 5.f)), out = allocate(4);
  OK("cuMemFreeAsync", p, stream);
  launch("block_sum", 1, 32, 32u, p, out);
  EXPECT(std::isnan(download<float>(out, 1)[0]));
}

static void freed_write() {
  start();
  Pointer p = upload(std::vector<unsigned>(25, 5));
  OK("cuMemFreeAsync", p, stream);
  launch("step", 1, 1, p, 0u);
  OK("cuStreamSynchronize", stream);
}

static void failing() {
  // TAPER_TWIN_FAIL=cuMemAllocAsync:2:2,cuGraphLaunch:2+,cuEventCreate
  start();
  Pointer p;
  OK("cuMemAllocAsync", &p, size_t{4}, stream);
  CODE(2, "cuMemAllocAsync", &p, size_t{4}, stream);
  OK("cuMemAllocAsync", &p, size_t{4}, stream);
  Handle executable = capture_steps(p, 1, 0), event;
  OK("cuGraphLaunch", executable, stream);
  CODE(999, "cuGraphLaunch", executable, stream);
  CODE(999, "cuGraphLaunch", executable, stream);
  CODE(999, "cuEventCreate", &event, 0u);
  OK("cuEventCreate", &event, 0u);
  const char *name, *text;
  OK("cuGetErrorName", 719, &name);
  OK("cuGetErrorString", 719, &text);
  EXPECT(!std::strcmp(name, "CUDA_ERROR_LAUNCH_FAILED") && !std::strcmp(text, "unspecified launch failure"));
  CODE(1, "cuGetErrorName", 12345, &name);
}

static void losing() {
  // TAPER_TWIN_LOST_AFTER=2
  start();
  unsigned* counter;
  OK("cuMemHostAlloc", reinterpret_cast<void**>(&counter), size_t{4}, 2u);
  *counter = 0;
  Handle executable = capture_steps(reinterpret_cast<Pointer>(counter), 3, 1'000'000);
  for (int i = 0; i < 2; i++) OK("cuGraphLaunch", executable, stream);
  call("cuGraphLaunch", executable, stream);
  CODE(719, "cuStreamSynchronize", stream);
  CODE(719, "cuGraphLaunch", executable, stream);
  Pointer p;
  CODE(719, "cuMemAlloc_v2", &p, size_t{4});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT(*counter == 6);
}

static void no_card() {
  CODE(100, "cuInit", 0u);
  int count;
  CODE(3, "cuDeviceGetCount", &count);
}
static void old_driver() {
  int version = 0;
  OK("cuDriverGetVersion", &version);
  EXPECT(version == 11070);
  OK("cuInit", 0u);
  Handle context;
  int major = 0, minor = 9;
  OK("cuDevicePrimaryCtxRetain", &context, 0);
  OK("cuCtxSetCurrent", context);
  OK("cuDeviceGetAttribute", &major, 75, 0);
  OK("cuDeviceGetAttribute", &minor, 76, 0);
  EXPECT(major == 7 && minor == 0);
  CODE(222, "cuModuleLoadData", &module, static_cast<const void*>(ptx.c_str()));
  std::string older = ptx;
  older.replace(older.find("7.8"), 3, "7.7");
  CODE(218, "cuModuleLoadData", &module, static_cast<const void*>(older.c_str()));  // for sm_75
}
// The script gives PTX that is not that of the library.
static void other_ptx() {
  OK("cuInit", 0u);
  Handle context;
  OK("cuDevicePrimaryCtxRetain", &context, 0);
  OK("cuCtxSetCurrent", context);
  CODE(218, "cuModuleLoadData", &module, static_cast<const void*>(ptx.c_str()));
}

int main(int count, char** words) {
  if (count != 4) FAIL("usage: twin_test LIBCUDA PTX_FILE TEST");
  library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) FAIL("%s", dlerror());
  std::ifstream file(words[2]);
  ptx.assign(std::istreambuf_iterator<char>(file), {});
  const std::map<std::string, void (*)()> tests = {
      {"sums", sums}, {"barrier_kept", barrier_kept}, {"barrier_removed", barrier_removed}, {"lost_barrier", lost_barrier},
      {"lost_lane", lost_lane}, {"past_end", past_end}, {"shared_past_end", shared_past_end}, {"shared_index_past_end", shared_index_past_end}, {"shared_unwritten", shared_unwritten}, {"mma", mma}, {"exchanges", exchanges},
      {"capture", capture}, {"streams", streams}, {"memory", memory}, {"freed_read", freed_read}, {"freed_write", freed_write}, {"failing", failing},
      {"losing", losing}, {"no_card", no_card}, {"old_driver", old_driver}, {"other_ptx", other_ptx},
  };
  auto test = tests.find(words[3]);
  if (test == tests.end()) FAIL("no test %s", words[3]);
  test->second();
}
