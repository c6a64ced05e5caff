/* A stand-in for libnvidia-ml.so.1: two cards of a driver 575.57.08, as NVML's documentation says that it tells of them.
 *
 * UNSUPPORTED  names of functions that answer "not supported", in one string
 * LOST_AFTER   looks for a card, after which the driver is gone
 * HANG_SECS    so long is every answer in coming
 * INIT_RESULT  what nvmlInit_v2 answers
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef UNSUPPORTED
#define UNSUPPORTED ""
#endif
#ifndef LOST_AFTER
#define LOST_AFTER 1000000
#endif
#ifndef HANG_SECS
#define HANG_SECS 0
#endif
#ifndef INIT_RESULT
#define INIT_RESULT SUCCESS
#endif

typedef int nvmlReturn_t;
typedef struct { unsigned ordinal; } *nvmlDevice_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
enum { CLOCK_SM = 1, CLOCK_MEM = 2 };

static struct { unsigned ordinal; } cards[2] = {{0}, {1}};
static long looks = 0;

static nvmlReturn_t lost(void) { return looks > LOST_AFTER ? GPU_IS_LOST : SUCCESS; }

static nvmlReturn_t answer(const char *function) {
    sleep(HANG_SECS);
    return strstr(UNSUPPORTED, function) ? NOT_SUPPORTED : lost();
}

#define ANSWER()                                   \
    do {                                           \
        nvmlReturn_t answered = answer(__func__);  \
        if (answered != SUCCESS) return answered;  \
    } while (0)

static nvmlReturn_t handle(unsigned ordinal, nvmlDevice_t *device) {
    looks++;
    *device = (nvmlDevice_t)&cards[ordinal];
    return lost();
}

nvmlReturn_t nvmlInit_v2(void) { return INIT_RESULT; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t code) { return code ? "error" : "success"; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ANSWER();
    snprintf(version, length, "575.57.08");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    ANSWER();
    *count = 2;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    return index < 2 ? handle(index, device) : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device) {
    return strcmp(id, "00000000:65:00.0") ? NOT_FOUND : handle(1, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    return strcmp(uuid, "GPU-stand-in") ? NOT_FOUND : handle(1, device);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    ANSWER();
    snprintf(name, length, device->ordinal ? "NVIDIA GeForce RTX 3060" : "NVIDIA H100 80GB HBM3");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ANSWER();
    *rates = (nvmlUtilization_t){.gpu = 97, .memory = 40};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    ANSWER();
    if (memory->version != (sizeof *memory | 2u << 24)) return INVALID_ARGUMENT;
    memory->total = device->ordinal ? 12884901888ull : 85899345920ull;
    memory->used = 62000000000ull;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    ANSWER();
    *milliwatts = 512300;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
    ANSWER();
    *milliwatts = device->ordinal ? 170000 : 700000;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *celsius) {
    ANSWER();
    *celsius = 61;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int clock, unsigned *mhz) {
    ANSWER();
    if (clock != CLOCK_SM && clock != CLOCK_MEM) return INVALID_ARGUMENT;
    *mhz = clock == CLOCK_SM ? 1755 : 2619;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    ANSWER();
    *reasons = 0x4 | 0x20; /* software power cap, software thermal slowdown */
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    ANSWER();
    *major = device->ordinal ? 8 : 9;
    *minor = device->ordinal ? 6 : 0;
    return SUCCESS;
}
