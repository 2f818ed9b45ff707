// What makes libprcnn_triton.so of the plugin: to open the library is to register PyramidRoiAlign, as with
// REGISTER_TENSORRT_PLUGIN.
//
// Triton's TensorRT backend opens the libraries of its `plugins` option with dlopen and does no more. trtexec
// (--dynamicPlugins) and Python (load_library) ask TensorRT's registry to open libprcnn_plugin.so, which registers what
// getCreators names, and fails for a name that it has already: so there are two libraries. Nothing of TensorRT is
// linked: the registry is that of the TensorRT that the process has loaded, if its version is that of the headers here:
// in another's registry, the same places hold other functions.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <dlfcn.h>
#include <link.h>

#include <NvInfer.h>

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

#define PRCNN_TEXT_OF(value) #value
#define PRCNN_TEXT(value) PRCNN_TEXT_OF(value)
constexpr char const* kTensorRT = "libnvinfer.so." PRCNN_TEXT(NV_TENSORRT_MAJOR);

using Registry = nvinfer1::IPluginRegistry* (*)();
using Version = int32_t (*)();

// Whether the process has TensorRT of any version: by its file's name, or by what all may see.
bool has_any_tensorrt() {
    auto const is_tensorrt = [](dl_phdr_info* loaded, std::size_t, void*) {
        char const* const folder = std::strrchr(loaded->dlpi_name, '/');
        return std::strncmp(folder ? folder + 1 : loaded->dlpi_name, "libnvinfer.so", 13) == 0 ? 1 : 0;
    };
    return dl_iterate_phdr(is_tensorrt, nullptr) != 0 || dlsym(RTLD_DEFAULT, "getInferLibVersion");
}

// From the library by its name, for a server may have opened it for itself alone; else from whatever all may see, which
// may be another version's.
Registry find_registry() {
    void* const named = dlopen(kTensorRT, RTLD_NOW | RTLD_NOLOAD);
    void* const library = named ? named : RTLD_DEFAULT;
    auto const version = reinterpret_cast<Version>(dlsym(library, "getInferLibVersion"));
    if (!version || version() / 10000 != NV_TENSORRT_MAJOR) return nullptr;
    return reinterpret_cast<Registry>(dlsym(library, "getPluginRegistry"));
}

bool register_creators() {
    Registry const find = find_registry();
    nvinfer1::IPluginRegistry* const registry = find ? find() : nullptr;
    if (!registry) {
        std::fprintf(stderr, "libprcnn_triton.so: %s is not loaded here, so PyramidRoiAlign is not registered: %s\n",
                     kTensorRT,
                     has_any_tensorrt()
                         ? "build this library with the headers of the server's own TensorRT"
                         : "no TensorRT is loaded yet; have Triton open this library when it is, with "
                           "--backend-config=tensorrt,plugins=PATH, not LD_PRELOAD");
        return false;
    }
    bool all = true;
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const creators = getCreators(count);
    for (int32_t i = 0; i < count; ++i) all = registry->registerCreator(*creators[i], "") && all;
    if (!all)
        std::fprintf(stderr, "libprcnn_triton.so: TensorRT does not take PyramidRoiAlign: it has one of that name\n");
    return all;
}

[[maybe_unused]] bool const registered = register_creators();

}  // namespace
