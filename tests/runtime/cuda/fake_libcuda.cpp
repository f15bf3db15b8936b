// A CUDA driver on host memory, so that cuda-bindings itself runs without a GPU: device memory is
// malloc, work is done when it is put into a stream, unless the stream is being captured.
// Only what `ckd` asks of the driver. Built with resize.cu in front, whose kernel it launches.
//
// FAKE_CUDA_INIT   error code of cuInit            FAKE_CUDA_VERSION  of the driver, 13000 if unset
// FAKE_CUDA_COUNT  devices, 1 if unset             FAKE_CUDA_FAIL     "cuName:code" fails so

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>

#define API extern "C" __attribute__((visibility("default"))) int
#define FAIL_IF_ASKED(name) if (int code = asked(name)) return code

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500 };
enum { MEMORY = 1 << 20, MAX_CONTEXTS = 16, MAX_DEVICES = 4, MAX_OPERATIONS = 16 };

struct Context { uint64_t id; int device, alive; };
struct Operation { void *to; const void *source; size_t size; };
struct Graph { int count; Operation operations[MAX_OPERATIONS]; };
struct Stream { Context *context; unsigned flags; Graph *capturing; };
struct Event { Context *context; unsigned flags; int recorded; };

static Context contexts[MAX_CONTEXTS];
static int num_contexts, primary_references[MAX_DEVICES];
static Context *primaries[MAX_DEVICES];
static thread_local Context *stack[8];
static thread_local int depth;
static size_t used;

struct Block { size_t size; int device, managed; };
static std::map<uint64_t, Block> blocks;  // of device memory, by address

static int number(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int asked(const char *name)
{
    const char *asked_for = getenv("FAKE_CUDA_FAIL");
    size_t length = strlen(name);
    if (!asked_for || strncmp(asked_for, name, length) || asked_for[length] != ':') return 0;
    return atoi(asked_for + length + 1);
}

static Context *current() { return depth ? stack[depth - 1] : NULL; }

static Context *make_context(int device)
{
    Context *context = &contexts[num_contexts];
    *context = Context{(uint64_t)++num_contexts, device, 1};
    return context;
}

API cuInit(unsigned) { return number("FAKE_CUDA_INIT", 0); }
API cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA_VERSION", 13000); return 0; }
API cuDeviceGetCount(int *count) { *count = number("FAKE_CUDA_COUNT", 1); return 0; }
API cuDeviceGetName(char *name, int size, int) { snprintf(name, size, "Fake GPU"); return 0; }
API cuDeviceTotalMem(size_t *bytes, int) { *bytes = MEMORY; return 0; }
API cuDeviceGetAttribute(int *value, int attribute, int)
{
    if (attribute == 75) *value = 9;         // compute capability
    else if (attribute == 76) *value = 0;
    else if (attribute == 16) *value = 132;  // multiprocessors
    else return INVALID_VALUE;
    return 0;
}

API cuCtxGetCurrent(Context **context) { *context = current(); return 0; }
API cuCtxSetCurrent(Context *context)
{
    FAIL_IF_ASKED("cuCtxSetCurrent");
    if (depth) stack[depth - 1] = context; else stack[depth++] = context;
    if (!context) --depth;
    return 0;
}
API cuCtxPushCurrent(Context *context)
{
    FAIL_IF_ASKED("cuCtxPushCurrent");
    stack[depth++] = context;
    return 0;
}
API cuCtxPopCurrent(Context **context) { *context = current(); --depth; return 0; }
API cuCtxGetDevice(int *device)
{
    if (!current()) return INVALID_CONTEXT;
    *device = current()->device;
    return 0;
}
API cuCtxGetId(Context *context, uint64_t *id)
{
    FAIL_IF_ASKED("cuCtxGetId");
    *id = context->id;
    return 0;
}

// What an application does; reached by ctypes. A new one takes the address of the last destroyed.
API fake_create(int device) { cuCtxPushCurrent(make_context(device)); return 0; }
API fake_destroy()
{
    current()->alive = 0;
    --depth;
    return 0;
}
API fake_create_at_same_address()
{
    Context *context = &contexts[num_contexts - 1];
    *context = Context{context->id + 100, context->device, 1};
    return cuCtxPushCurrent(context);
}

API cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    *flags = 0;
    *active = primary_references[device] > 0;
    return 0;
}
API cuDevicePrimaryCtxRetain(Context **context, int device)
{
    FAIL_IF_ASKED("cuDevicePrimaryCtxRetain");
    if (!primary_references[device]++) primaries[device] = make_context(device);
    *context = primaries[device];
    return 0;
}
API cuDevicePrimaryCtxRelease(int device) { --primary_references[device]; return 0; }
API fake_primary_references(int device) { return primary_references[device]; }

API cuMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = MEMORY - used;
    *total = MEMORY;
    return 0;
}
API cuMemAlloc(uint64_t *address, size_t bytes)
{
    if (!current()) return INVALID_CONTEXT;
    if (used + bytes > MEMORY) return OUT_OF_MEMORY;
    *address = (uint64_t)malloc(bytes);
    blocks[*address] = Block{bytes, current()->device, 0};
    used += bytes;
    return 0;
}
API cuMemFree(uint64_t address)
{
    FAIL_IF_ASKED("cuMemFree");
    if (!current()) return INVALID_CONTEXT;
    used -= blocks.at(address).size;
    blocks.erase(address);
    free((void *)address);
    return 0;
}
API fake_manage(uint64_t address) { blocks.at(address).managed = 1; return 0; }
API cuPointerGetAttribute(void *value, int attribute, uint64_t address)
{
    auto above = blocks.upper_bound(address);
    if (above == blocks.begin()) return INVALID_VALUE;
    auto [start, block] = *std::prev(above);
    if (address >= start + block.size) return INVALID_VALUE;
    if (attribute == 2) *(unsigned *)value = 2;  // memory of a device
    else if (attribute == 8) *(bool *)value = block.managed;
    else if (attribute == 9) *(int *)value = block.device;
    else return INVALID_VALUE;
    return 0;
}
API cuMemHostAlloc(void **address, size_t bytes, unsigned)
{
    FAIL_IF_ASKED("cuMemHostAlloc");
    *address = malloc(bytes);
    return 0;
}
API cuMemFreeHost(void *address) { free(address); return 0; }

API cuStreamCreate(Stream **stream, unsigned flags)
{
    if (!current()) return INVALID_CONTEXT;
    *stream = new Stream{current(), flags, NULL};
    return 0;
}
API cuStreamDestroy(Stream *stream) { delete stream; return 0; }
API cuStreamSynchronize(Stream *stream)
{
    FAIL_IF_ASKED("cuStreamSynchronize");
    return !stream || stream->context == current() ? 0 : INVALID_HANDLE;
}
API fake_stream_flags(Stream *stream) { return (int)stream->flags; }

API cuMemcpyAsync(uint64_t to, uint64_t source, size_t bytes, Stream *stream)
{
    if (!stream || !stream->capturing) {  // 0 is the default stream
        memcpy((void *)to, (const void *)source, bytes);
        return 0;
    }
    Graph *graph = stream->capturing;
    graph->operations[graph->count++] = Operation{(void *)to, (const void *)source, bytes};
    return 0;
}

API cuEventCreate(Event **event, unsigned flags) { *event = new Event{current(), flags, 0}; return 0; }
API cuEventDestroy(Event *event) { delete event; return 0; }
API cuEventRecord(Event *event, Stream *stream)
{
    if (stream && event->context != stream->context) return INVALID_HANDLE;  // 0: the default one
    event->recorded = 1;
    return 0;
}
API cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags)
{
    return event->context != stream->context ? INVALID_HANDLE : flags ? INVALID_VALUE : 0;
}
API cuEventElapsedTime(float *milliseconds, Event *start, Event *end)
{
    if (start->flags || end->flags || !start->recorded || !end->recorded) return INVALID_HANDLE;
    *milliseconds = 1.5f;
    return 0;
}

API cuStreamBeginCapture(Stream *stream, int mode)
{
    if (mode != 1) return INVALID_VALUE;  // of this thread only
    stream->capturing = new Graph{};
    return 0;
}
API cuStreamEndCapture(Stream *stream, Graph **graph)
{
    *graph = stream->capturing;
    stream->capturing = NULL;
    FAIL_IF_ASKED("cuStreamEndCapture");
    return 0;
}
API cuGraphInstantiate(Graph **made, Graph *graph, unsigned long long flags)
{
    *made = new Graph(*graph);
    return flags ? INVALID_VALUE : 0;
}
API cuGraphDestroy(Graph *graph) { delete graph; return 0; }
API cuGraphExecDestroy(Graph *graph) { delete graph; return 0; }
API cuGraphLaunch(Graph *graph, Stream *stream)
{
    for (int i = 0; i < graph->count; ++i) {
        Operation *copy = &graph->operations[i];
        cuMemcpyAsync((uint64_t)copy->to, (uint64_t)copy->source, copy->size, stream);
    }
    return 0;
}

static int modules;
API cuModuleLoadData(void **module, const char *image)
{
    FAIL_IF_ASKED("cuModuleLoadData");
    if (memcmp(image, "\x7f" "ELF", 4)) return INVALID_VALUE;  // machine code is an ELF file
    *module = &modules;
    ++modules;
    return 0;
}
API cuModuleUnload(void *) { --modules; return 0; }
API fake_modules() { return modules; }
API cuModuleGetFunction(void **function, void *, const char *name)
{
    if (strcmp(name, "resize_area")) return NOT_FOUND;
    *function = (void *)resize_area;
    return 0;
}
API cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                   Stream *stream, void **given, void **extra)
{
    FAIL_IF_ASKED("cuLaunchKernel");
    if (function != (void *)resize_area || !stream || grid_z * block_z != 1 || shared || extra)
        return INVALID_VALUE;
    run_on_host(*(unsigned char **)given[0], *(unsigned *)given[1], *(unsigned *)given[2],
                *(unsigned *)given[3], *(unsigned char **)given[4], *(unsigned *)given[5], grid_x,
                grid_y, block_x, block_y);
    return 0;
}

API cuGetProcAddress_v2(const char *name, void **function, int, uint64_t, int *)
{
    if (!strcmp(name, "cuGetProcAddress")) name = "cuGetProcAddress_v2";
    if (!strcmp(name, "cuGraphInstantiateWithFlags")) name = "cuGraphInstantiate";
    static void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *function = dlsym(self, name);
    return *function ? 0 : NOT_FOUND;
}

// NVRTC asks for the driver's own tables, and does without.
API cuGetExportTable(const void **table, const void *) { *table = NULL; return NOT_FOUND; }
