// PyramidRoiAlign for TensorRT 10 and 11: IPluginV3 with its creator.
//
// Inputs: rois float [n,4], then one feature map [1,C,H,W] a level, float or half. Output: [n,C,size,size] of the same
// type. RoIs are float whatever the features are: half moves a border at 1300 pixels by up to half a pixel. Half features
// may come linear or channels-last (kHWC8); RoIs are linear. No constructor calls CUDA, so networks parse without a GPU.
#include <array>
#include <cstdint>
#include <cstring>
#include <new>

#include <NvInfer.h>

#include "pyramid_roi_align.h"

namespace {

using namespace nvinfer1;

constexpr char const* kName = "PyramidRoiAlign";
constexpr char const* kVersion = "1";
constexpr char const* kNamespace = "";
constexpr int32_t kMostLevels = 8;

struct Attributes {
    int32_t output_size{7};
    int32_t sampling_ratio{2};
    int32_t first_level{2};
};

constexpr std::array<char const*, 3> kFields{"output_size", "sampling_ratio", "first_level"};

class PyramidRoiAlign final : public IPluginV3,
                              public IPluginV3OneCore,
                              public IPluginV3OneBuild,
                              public IPluginV3OneRuntime {
public:
    explicit PyramidRoiAlign(Attributes attributes)
        : attributes_{attributes},
          fields_{{{kFields[0], &attributes_.output_size, PluginFieldType::kINT32, 1},
                   {kFields[1], &attributes_.sampling_ratio, PluginFieldType::kINT32, 1},
                   {kFields[2], &attributes_.first_level, PluginFieldType::kINT32, 1}}},
          collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}

    // the fields point into the object
    PyramidRoiAlign(PyramidRoiAlign const&) = delete;
    PyramidRoiAlign& operator=(PyramidRoiAlign const&) = delete;

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override {
        auto* const copy = new (std::nothrow) PyramidRoiAlign(attributes_);
        if (copy) copy->level_count_ = level_count_;
        return copy;
    }

    // core
    AsciiChar const* getPluginName() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }

    // build
    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                            int32_t outputs) noexcept override {
        if (outputs != 1 || !has_levels(inputs)) return -1;
        for (int32_t i = 1; i < inputs; ++i) {
            auto const& dims = in[i].desc.dims;
            if (dims.nbDims != 4 || (dims.d[0] != 1 && dims.d[0] != -1)) return -1;  // one picture
        }
        return in[0].desc.dims.nbDims == 2 ? 0 : -1;
    }

    int32_t getOutputDataTypes(DataType* types, int32_t outputs, DataType const* input_types,
                               int32_t inputs) const noexcept override {
        if (outputs != 1 || !has_levels(inputs)) return -1;
        types[0] = input_types[1];
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* in, int32_t inputs, DimsExprs const*, int32_t, DimsExprs* out,
                            int32_t outputs, IExprBuilder& builder) noexcept override {
        if (outputs != 1 || !has_levels(inputs) || in[0].nbDims != 2 || in[1].nbDims != 4) return -1;
        out[0].nbDims = 4;
        out[0].d[0] = in[0].d[0];
        out[0].d[1] = in[1].d[1];
        out[0].d[2] = builder.constant(attributes_.output_size);
        out[0].d[3] = out[0].d[2];
        return 0;
    }

    bool supportsFormatCombination(int32_t at, DynamicPluginTensorDesc const* all, int32_t inputs,
                                   int32_t outputs) noexcept override {
        if (outputs != 1 || !has_levels(inputs)) return false;
        auto const& asked = all[at].desc;
        if (at == 0) return asked.type == DataType::kFLOAT && asked.format == TensorFormat::kLINEAR;
        if (at > 1) return asked.type == all[1].desc.type && asked.format == all[1].desc.format;
        if (asked.type == DataType::kFLOAT) return asked.format == TensorFormat::kLINEAR;
        return asked.type == DataType::kHALF &&
               (asked.format == TensorFormat::kLINEAR || asked.format == TensorFormat::kHWC8);
    }

    // runtime
    int32_t onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*,
                          int32_t) noexcept override {
        if (!has_levels(inputs)) return -1;
        for (int32_t i = 1; i < inputs; ++i)
            if (in[i].dims.nbDims != 4 || in[i].dims.d[0] != 1 || in[i].dims.d[1] != in[1].dims.d[1]) return -1;
        if (in[1].dims.d[1] > PRCNN_MOST_CHANNELS) return -1;
        level_count_ = inputs - 1;
        return in[0].dims.nbDims == 2 && in[0].dims.d[1] == 4 ? 0 : -1;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* data, void* const* results,
                    void*, cudaStream_t stream) noexcept override {
        if (level_count_ == 0) return -1;
        std::array<prcnn_level, kMostLevels> levels{};
        for (int32_t i = 0; i < level_count_; ++i) {
            auto const& dims = in[i + 1].dims;
            levels[static_cast<std::size_t>(i)] = {data[i + 1], static_cast<int32_t>(dims.d[2]),
                                                   static_cast<int32_t>(dims.d[3])};
        }
        auto const channels = static_cast<int32_t>(in[1].dims.d[1]);
        prcnn_roi_align_args args{};
        args.levels = levels.data();
        args.rois = static_cast<float const*>(data[0]);
        args.output = results[0];
        args.roi_count = in[0].dims.d[0];
        args.level_count = level_count_;
        args.first_level = attributes_.first_level;
        args.channels = channels;
        args.channel_stride = (channels + 7) / 8 * 8;
        args.size = attributes_.output_size;
        args.sampling_ratio = attributes_.sampling_ratio;
        args.type = in[1].type == DataType::kHALF ? PRCNN_HALF : PRCNN_FLOAT;
        args.layout = in[1].format == TensorFormat::kHWC8 ? PRCNN_NHWC : PRCNN_NCHW;
        return prcnn_roi_align_cuda(&args, stream) == PRCNN_OK ? 0 : -1;
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &collection_; }

private:
    static bool has_levels(int32_t inputs) noexcept { return inputs >= 2 && inputs <= kMostLevels + 1; }

    Attributes attributes_;
    int32_t level_count_{0};  // of the last onShapeChange: enqueue is not told how many inputs there are
    std::array<PluginField, 3> fields_;
    PluginFieldCollection collection_;
};

class PyramidRoiAlignCreator final : public IPluginCreatorV3One {
public:
    PyramidRoiAlignCreator()
        : fields_{{{kFields[0], nullptr, PluginFieldType::kINT32, 1},
                   {kFields[1], nullptr, PluginFieldType::kINT32, 1},
                   {kFields[2], nullptr, PluginFieldType::kINT32, 1}}},
          collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}

    AsciiChar const* getPluginName() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }

    // nullptr, TensorRT's way to refuse, where a field has the wrong type or is out of range
    IPluginV3* createPlugin(AsciiChar const*, PluginFieldCollection const* given, TensorRTPhase) noexcept override {
        Attributes attributes;
        std::array<int32_t*, 3> const targets{&attributes.output_size, &attributes.sampling_ratio,
                                              &attributes.first_level};
        for (int32_t i = 0; given && i < given->nbFields; ++i)
            for (std::size_t k = 0; k < kFields.size(); ++k)
                if (std::strcmp(given->fields[i].name, kFields[k]) == 0 && !read(given->fields[i], *targets[k]))
                    return nullptr;
        bool const fits = attributes.output_size >= 1 && attributes.output_size <= 256 &&
                          attributes.sampling_ratio >= 1 && attributes.sampling_ratio <= 16 &&
                          attributes.first_level >= 0 && attributes.first_level <= 10;
        return fits ? new (std::nothrow) PyramidRoiAlign(attributes) : nullptr;
    }

private:
    // parsers hand over ONNX integers in either width
    static bool read(PluginField const& field, int32_t& value) noexcept {
        if (field.length != 1 || !field.data) return false;
        if (field.type == PluginFieldType::kINT32) {
            std::memcpy(&value, field.data, sizeof value);
            return true;
        }
        if (field.type != PluginFieldType::kINT64) return false;
        int64_t wide;
        std::memcpy(&wide, field.data, sizeof wide);
        value = static_cast<int32_t>(wide);
        return value == wide;
    }

    std::array<PluginField, 3> fields_;
    PluginFieldCollection collection_;
};

}  // namespace

// What TensorRT's registry looks for in a library that it opens itself: loadLibrary, so trtexec --dynamicPlugins and
// Python. Triton opens plugin libraries without it: see register.cpp.
extern "C" PRCNN_API void setLoggerFinder(ILoggerFinder*) {}

extern "C" PRCNN_API IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static PyramidRoiAlignCreator creator;
    static IPluginCreatorInterface* const creators[]{&creator};
    count = 1;
    return creators;
}
