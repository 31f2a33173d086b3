#include "ops/optimizer.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct FromJs<ops::AdamParameters> {
  static ops::AdamParameters read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    return {.learning_rate = members.number("learningRate"),
            .beta1 = members.number("beta1"),
            .beta2 = members.number("beta2"),
            .epsilon = members.number("epsilon"),
            .step = members.integer("step"),
            .weight_decay = members.number("weightDecay"),
            .clip = members.number("clip")};
  }
};

template <>
struct FromJs<ops::SgdParameters> {
  static ops::SgdParameters read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    return {.learning_rate = members.number("learningRate"),
            .momentum = members.number("momentum"),
            .nesterov = members.boolean("nesterov"),
            .weight_decay = members.number("weightDecay"),
            .clip = members.number("clip")};
  }
};

template <>
struct FromJs<ops::BopParameters> {
  static ops::BopParameters read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    return {.gamma = members.number("gamma"), .threshold = members.number("threshold")};
  }
};

void add_optimizers(Napi::Object exports) {
  add<ops::adam_step>(exports, "adamStep");
  add<ops::sgd_step>(exports, "sgdStep");
  add<ops::bop_step>(exports, "bopStep");
  add<ops::average_step>(exports, "averageStep");
}

}  // namespace hardbit::node
