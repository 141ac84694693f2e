// Ceres on the residuals of sfm's adjustment: reprojection and, where a prior is given, log depth; robust, with the
// same losses, the same prior on the log scales of the frames, the first camera held. Derivatives are Ceres's automatic
// ones, points are x, y, z, rotations angle-axis: what a user of Ceres writes. Or, for a file of kind 1, BAL's camera.
//
// ceres_peer PROBLEM MAX_ITERATIONS THREADS SOLVER: prints "iteration cost seconds" lines. benchmarks/adjustment.py
// compiles it (Debian's libceres-dev) and writes PROBLEM.

#include <ceres/ceres.h>
#include <ceres/rotation.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

struct Reprojection {
  double x, y, inverse_sigma, focal_x, focal_y, center_x, center_y;

  template <typename T>
  bool operator()(const T* camera, const T* point, T* residual) const {
    T p[3];
    ceres::AngleAxisRotatePoint(camera, point, p);
    for (int i = 0; i < 3; ++i) p[i] += camera[3 + i];
    residual[0] = (focal_x * p[0] / p[2] + center_x - x) * inverse_sigma;
    residual[1] = (focal_y * p[1] / p[2] + center_y - y) * inverse_sigma;
    return true;
  }
};

struct LogDepth {
  double log_prior, weight;

  template <typename T>
  bool operator()(const T* camera, const T* log_scale, const T* point, T* residual) const {
    T p[3];
    ceres::AngleAxisRotatePoint(camera, point, p);
    residual[0] = (log(p[2] + camera[5]) - log_scale[0] - log_prior) * weight;
    return true;
  }
};

struct Difference {
  double inverse_sigma;

  template <typename T>
  bool operator()(const T* before, const T* after, T* residual) const {
    residual[0] = (after[0] - before[0]) * inverse_sigma;
    return true;
  }
};

struct Around {
  double inverse_sigma;

  template <typename T>
  bool operator()(const T* value, T* residual) const {
    residual[0] = value[0] * inverse_sigma;
    return true;
  }
};

// Bundle adjustment in the large: angle-axis, translation, focal length, k1, k2; the camera looks along -z
struct Bal {
  double x, y;

  template <typename T>
  bool operator()(const T* camera, const T* point, T* residual) const {
    T p[3];
    ceres::AngleAxisRotatePoint(camera, point, p);
    for (int i = 0; i < 3; ++i) p[i] += camera[3 + i];
    const T px = -p[0] / p[2], py = -p[1] / p[2];
    const T r2 = px * px + py * py;
    const T factor = camera[6] * (1.0 + r2 * (camera[7] + r2 * camera[8]));
    residual[0] = factor * px - x;
    residual[1] = factor * py - y;
    return true;
  }
};

struct Reader {
  std::ifstream file;
  explicit Reader(const char* name) : file(name, std::ios::binary) {}
  double number() {
    double value;
    file.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }
  std::vector<double> numbers(size_t count) {
    std::vector<double> values(count);
    file.read(reinterpret_cast<char*>(values.data()), count * sizeof(double));
    return values;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  Reader in(argv[1]);
  // all numbers are doubles: kind, cameras, points, observations; see problem_file in adjustment.py
  const bool bal = in.number() == 1;
  const int cameras = in.number(), points = in.number(), observations = in.number();
  const int width = bal ? 9 : 6;
  std::vector<double> camera = in.numbers(cameras * width), point = in.numbers(points * 3);
  std::vector<double> frame = in.numbers(observations), track = in.numbers(observations);
  std::vector<double> xy = in.numbers(2 * observations), log_scale(cameras, 0.0);

  ceres::Problem problem;
  for (int i = 0; i < cameras; ++i) problem.AddParameterBlock(&camera[i * width], width);
  if (bal) {
    for (int o = 0; o < observations; ++o) {
      auto* cost = new ceres::AutoDiffCostFunction<Bal, 2, 9, 3>(new Bal{xy[2 * o], xy[2 * o + 1]});
      problem.AddResidualBlock(cost, nullptr, &camera[int(frame[o]) * width], &point[int(track[o]) * 3]);
    }
  } else {
    const std::vector<double> lens = in.numbers(4), inverse_sigma = in.numbers(observations);
    const std::vector<double> knee = in.numbers(observations);
    for (int o = 0; o < observations; ++o) {
      auto* cost = new ceres::AutoDiffCostFunction<Reprojection, 2, 6, 3>(
          new Reprojection{xy[2 * o], xy[2 * o + 1], inverse_sigma[o], lens[0], lens[1], lens[2], lens[3]});
      problem.AddResidualBlock(cost, new ceres::CauchyLoss(knee[o]), &camera[int(frame[o]) * 6],
                               &point[int(track[o]) * 3]);
    }
    if (in.number() == 1) {  // with depth
      log_scale = in.numbers(cameras);
      const std::vector<double> log_prior = in.numbers(observations), weight = in.numbers(observations);
      const std::vector<double> depth_knee = in.numbers(observations);
      for (int o = 0; o < observations; ++o) {
        if (weight[o] == 0) continue;
        auto* cost = new ceres::AutoDiffCostFunction<LogDepth, 1, 6, 1, 3>(new LogDepth{log_prior[o], weight[o]});
        problem.AddResidualBlock(cost, new ceres::CauchyLoss(depth_knee[o]), &camera[int(frame[o]) * 6],
                                 &log_scale[int(frame[o])], &point[int(track[o]) * 3]);
      }
      const double around = 1 / in.number(), step = 1 / in.number();
      for (int i = 0; i < cameras; ++i) {
        auto* cost = new ceres::AutoDiffCostFunction<Around, 1, 1>(new Around{around});
        problem.AddResidualBlock(cost, nullptr, &log_scale[i]);
        if (i == 0) continue;
        auto* walk = new ceres::AutoDiffCostFunction<Difference, 1, 1, 1>(new Difference{step});
        problem.AddResidualBlock(walk, nullptr, &log_scale[i - 1], &log_scale[i]);
      }
    }
    problem.SetParameterBlockConstant(&camera[0]);
  }

  ceres::Solver::Options options;
  options.max_num_iterations = std::atoi(argv[2]);
  options.num_threads = std::atoi(argv[3]);
  const std::string solver = argv[4];
  options.linear_solver_type = solver == "dense" ? ceres::DENSE_SCHUR : ceres::SPARSE_SCHUR;
  options.function_tolerance = 1e-9;  // a thousandth of what counts as the same cost
  options.gradient_tolerance = options.parameter_tolerance = 0;
  auto* order = new ceres::ParameterBlockOrdering;
  for (int j = 0; j < points; ++j) {
    if (problem.HasParameterBlock(&point[j * 3])) order->AddElementToGroup(&point[j * 3], 0);
  }
  for (int i = 0; i < cameras; ++i) {
    order->AddElementToGroup(&camera[i * width], 1);
    if (problem.HasParameterBlock(&log_scale[i])) order->AddElementToGroup(&log_scale[i], 1);
  }
  options.linear_solver_ordering.reset(order);
  ceres::Solver::Summary summary;
  ceres::Solve(options, &problem, &summary);
  for (const auto& it : summary.iterations) {
    std::printf("%d %.17g %.6f\n", it.iteration, it.cost, it.cumulative_time_in_seconds);
  }
  return summary.IsSolutionUsable() ? 0 : 1;
}
