// A fork of a process that has used the GPU. (Not under valgrind, for which the child leaks what its parent holds.)

#include "doubles.hpp"

#include <sys/wait.h>
#include <unistd.h>

namespace {

const char COPY[] = "profiles 2\nmemory 4096\ninput x 1 -1,4 1,4 2,4 1024,4\noutput y 1 -1,4\ncopies\n";

// The child of a process that has used CUDA is told that it cannot, whatever of its parent's it has.
void forks(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    const planrt::Session session(engine);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        expect(planrt::ErrorCode::forked, "engine was made before", [&] { planrt::Context context(engine); });
        const planrt::Runtime own(tensorrt.options());
        expect(planrt::ErrorCode::forked, "CUDA", [&] { own.load_tensorrt(); });
        expect(planrt::ErrorCode::forked, "CUDA", [&] { tensorrt.load(own, COPY); });
        CHECK(!planrt::Engine::from_file(own, MODELS "/small.onnx").device_name().empty());
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    static_cast<void>(planrt::Context(engine));
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"forks", forks}});
}
