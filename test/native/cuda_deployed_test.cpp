#include "cuda/deployed_network.h"
#include "cuda/recording.h"
#include "hbit_cases.h"
#include "packed/reader.h"
#include "support.h"

namespace hardbit::cuda {
namespace {

using test::expect_error;

class CudaDeployed : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (driver::devices(reason).empty()) GTEST_SKIP() << reason;
  }
};

packed::Network read(const std::vector<std::uint8_t>& file) {
  return packed::read_network(std::span<const std::uint8_t>(file), "x");
}

// Every feature of the format: the logits are those of loops over single elements, to the last bit.
TEST_F(CudaDeployed, EqualsTheReferenceOnDrawnNetworks) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    test::HbitDraw draw(seed);
    const test::HbitNetwork network = draw.network();
    const std::int64_t count = draw.between(1, 3);
    const std::vector<std::uint8_t> images = draw.images(network, count);
    const packed::Network source = read(test::hbit_file(network));
    const auto& [height, width, channels] = source.image;
    const DeployedNetwork deployed(source);
    const Tensor x =
        Tensor::from_host(DType::u8, {count, height, width, channels}, images.data(), Device::cuda);
    test::HbitReference reference(network);
    std::vector<float> expected;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::vector<float> logits = reference.run(images.data() + i * source.image.values());
      expected.insert(expected.end(), logits.begin(), logits.end());
    }
    const Tensor logits = deployed.logits(x);
    ASSERT_EQ(logits.shape(), (Shape{count, source.classes}));
    ASSERT_EQ(test::values<float>(logits), expected);
    EXPECT_GT(deployed.bytes(), 0U);
  }
}

TEST_F(CudaDeployed, RunsRecordedAndRefusesOtherImages) {
  test::HbitDraw draw(3);
  const test::HbitNetwork network = draw.network();
  const packed::Network source = read(test::hbit_file(network));
  const auto& [height, width, channels] = source.image;
  const DeployedNetwork deployed(source);
  const std::vector<std::uint8_t> images = draw.images(network, 2);
  const Tensor x = Tensor::from_host(DType::u8, {2, height, width, channels}, images.data(), Device::cuda);
  const auto expected = test::values<float>(deployed.logits(x));
  Tensor logits;
  RecordedGraph graph;
  {
    Recording recording;
    logits = deployed.logits(x);
    graph = recording.finish();
  }
  graph.run();
  EXPECT_EQ(test::values<float>(logits), expected);

  EXPECT_EQ(deployed.logits(x.slice(0, 0)).shape(), (Shape{0, source.classes}));
  expect_error("ERR_HARDBIT_SHAPE", [&] { deployed.logits(x.reshape({1, 2 * height, width, channels})); });
  expect_error("ERR_HARDBIT_DTYPE",
               [&] { deployed.logits(Tensor::zeros(DType::f32, x.shape(), Device::cuda)); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { deployed.logits(x.to(Device::cpu)); });
}

}  // namespace
}  // namespace hardbit::cuda
