// runner.cpp: runs kernels for a test. One job from standard input, its results to standard output; what the shim or a sanitizer has to say goes to
// standard error, and the exit status is not 0 then.
//
// A job, numbers little-endian (tests/kernels/job.rs writes it):
//   text left out: file · u32 line (0: nothing)                          a text is u32 length and bytes
//   u32 seeds, each u64
//   u32 buffers, each u8 wanted · u64 length · bytes                     allocated anew for each seed, exactly as long, aligned to 256
//   u32 pointers, each u32 buffer · u64 at · u32 target · u64 offset     the address of `target` + offset is written into `buffer`
//   u32 launches, each text kernel · 3 u32 grid · 3 u32 block · u32 arguments, each u8 0 · u32 length · bytes, or u8 1 · u32 buffer · u64 offset
// The answer: for each seed the bytes of every wanted buffer, in order; then u32 sites, each text `line file`.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "shim.h"

namespace {

// A kernel that spins for ever ends here, not in whoever waits for the test.
constexpr rlim_t kMostProcessorSeconds = 300;

void read(void* to, size_t bytes) {
  if (bytes && fread(to, 1, bytes, stdin) != bytes) {
    fprintf(stderr, "runner: the job ends too soon\n");
    exit(2);
  }
}
template <class T>
T number() {
  T value;
  read(&value, sizeof value);
  return value;
}
std::string text() {
  std::string value(number<uint32_t>(), '\0');
  read(&value[0], value.size());
  return value;
}

struct Buffer {
  bool wanted;
  std::vector<unsigned char> bytes;
  unsigned char* memory;
};
struct Pointer {
  uint32_t buffer;
  uint64_t at;
  uint32_t target;
  uint64_t offset;
};
struct Argument {
  bool is_buffer;
  std::vector<unsigned char> bytes;
  uint32_t buffer;
  uint64_t offset;
};
struct Launch {
  std::string kernel;
  uint3 grid, block;
  std::vector<Argument> arguments;
};

std::vector<Buffer> buffers;
std::vector<Pointer> pointers;
std::vector<Launch> launches;
std::vector<uint64_t> seeds;

void read_job() {
  static std::string file = text();
  shim::leave_out(file.c_str(), int(number<uint32_t>()));
  seeds.resize(number<uint32_t>());
  for (auto& seed : seeds) seed = number<uint64_t>();
  buffers.resize(number<uint32_t>());
  for (auto& buffer : buffers) {
    buffer.wanted = number<uint8_t>() != 0;
    buffer.bytes.resize(number<uint64_t>());
    read(buffer.bytes.data(), buffer.bytes.size());
  }
  pointers.resize(number<uint32_t>());
  for (auto& p : pointers) p.buffer = number<uint32_t>(), p.at = number<uint64_t>(), p.target = number<uint32_t>(), p.offset = number<uint64_t>();
  launches.resize(number<uint32_t>());
  for (auto& launch : launches) {
    launch.kernel = text();
    for (uint3* size : {&launch.grid, &launch.block}) size->x = number<uint32_t>(), size->y = number<uint32_t>(), size->z = number<uint32_t>();
    launch.arguments.resize(number<uint32_t>());
    for (auto& argument : launch.arguments) {
      argument.is_buffer = number<uint8_t>() != 0;
      if (argument.is_buffer) {
        argument.buffer = number<uint32_t>(), argument.offset = number<uint64_t>();
      } else {
        argument.bytes.resize(number<uint32_t>());
        read(argument.bytes.data(), argument.bytes.size());
      }
    }
  }
}

void run(uint64_t seed) {
  for (auto& buffer : buffers) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, buffer.bytes.size()) != 0) exit(2);
    buffer.memory = static_cast<unsigned char*>(memory);
    if (!buffer.bytes.empty()) memcpy(memory, buffer.bytes.data(), buffer.bytes.size());
  }
  for (const auto& p : pointers) {
    unsigned char* address = buffers.at(p.target).memory + p.offset;
    memcpy(buffers.at(p.buffer).memory + p.at, &address, sizeof address);
  }
  for (auto& launch : launches) {
    std::vector<unsigned char*> addresses(launch.arguments.size());
    std::vector<void*> arguments(launch.arguments.size());
    for (size_t i = 0; i < arguments.size(); i++) {
      Argument& argument = launch.arguments[i];
      if (argument.is_buffer) addresses[i] = buffers.at(argument.buffer).memory + argument.offset;
      arguments[i] = argument.is_buffer ? static_cast<void*>(&addresses[i]) : argument.bytes.data();
    }
    shim::launch(launch.kernel.c_str(), launch.grid, launch.block, arguments.data(), seed);
  }
  for (auto& buffer : buffers) {
    if (buffer.wanted) fwrite(buffer.memory, 1, buffer.bytes.size(), stdout);
    free(buffer.memory);
  }
}

}  // namespace

int main() {
  rlimit limit{kMostProcessorSeconds, kMostProcessorSeconds};
  setrlimit(RLIMIT_CPU, &limit);
  read_job();
  for (uint64_t seed : seeds) run(seed);
  std::vector<std::string> lines;
  shim::each_site([](const shim::Site& site, void* to) { static_cast<std::vector<std::string>*>(to)->push_back(std::to_string(site.line) + " " + site.file); }, &lines);
  uint32_t count = uint32_t(lines.size());
  fwrite(&count, sizeof count, 1, stdout);
  for (const auto& line : lines) {
    uint32_t length = uint32_t(line.size());
    fwrite(&length, sizeof length, 1, stdout);
    fwrite(line.data(), 1, length, stdout);
  }
  return fflush(stdout) == 0 ? 0 : 2;
}
