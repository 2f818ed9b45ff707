"""The TensorRT plugin without TensorRT: compiled against its declarations, run on the CPU's kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.export.plugin.conftest import compile_tensorrt_plugin

PROGRAM = """
#include <array>
#include <cstdio>
#include <NvInfer.h>

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

// One RoI of 16x16 pixels, so on the first of two levels, which hold 3 and 5 everywhere.
std::array<float, 4> const rois{0, 0, 16, 16};
std::array<float, 64> first;
std::array<float, 16> second;
std::array<void const*, 3> const data{rois.data(), first.data(), second.data()};
std::array<PluginTensorDesc, 3> const in{
    PluginTensorDesc{{2, {1, 4}}, DataType::kFLOAT, TensorFormat::kLINEAR, 1},
    PluginTensorDesc{{4, {1, 1, 8, 8}}, DataType::kFLOAT, TensorFormat::kLINEAR, 1},
    PluginTensorDesc{{4, {1, 1, 4, 4}}, DataType::kFLOAT, TensorFormat::kLINEAR, 1}};

IPluginV3OneRuntime* runtime(IPluginV3* plugin) {
    return static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

void run(char const* who, IPluginV3* plugin) {
    float result = -1;
    std::array<void*, 1> const results{&result};
    int32_t const status = runtime(plugin)->enqueue(in.data(), nullptr, data.data(), results.data(), nullptr, nullptr);
    std::printf("%s %d %g\\n", who, status, static_cast<double>(result));
}

}  // namespace

int main() {
    first.fill(3);
    second.fill(5);
    int32_t count = 0;
    auto* const creator = static_cast<IPluginCreatorV3One*>(getCreators(count)[0]);
    std::printf("%d %s %s\\n", count, creator->getPluginName(), creator->getPluginVersion());
    int32_t const size = 1, sampling = 2, level = 2;
    std::array<PluginField, 3> const fields{PluginField{"output_size", &size, PluginFieldType::kINT32, 1},
                                            PluginField{"sampling_ratio", &sampling, PluginFieldType::kINT32, 1},
                                            PluginField{"first_level", &level, PluginFieldType::kINT32, 1}};
    PluginFieldCollection const collection{3, fields.data()};
    IPluginV3* const plugin = creator->createPlugin("", &collection, TensorRTPhase::kBUILD);
    run("new", plugin);
    std::printf("shapes %d\\n", runtime(plugin)->onShapeChange(in.data(), 3, nullptr, 1));
    run("shaped", plugin);
    run("copy", plugin->clone());
    run("attached", runtime(plugin)->attachToContext(nullptr));
    auto wide = in;
    wide[1].dims.d[1] = wide[2].dims.d[1] = 65537;
    std::printf("wide %d\\n", runtime(plugin)->onShapeChange(wide.data(), 3, nullptr, 1));
}
"""


def test_a_copy_knows_what_its_original_was_told(tmp_path: Path) -> None:
    program = compile_tensorrt_plugin(tmp_path, PROGRAM, name="program")
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "1 PyramidRoiAlign 1",
        "new -1 -1",  # of how many levels, nobody has said
        "shapes 0",
        "shaped 0 3",
        "copy 0 3",
        "attached 0 3",
        "wide -1",  # more channels than the kernel takes
    ]
