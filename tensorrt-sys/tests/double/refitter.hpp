// The part of the double of libnvinfer that puts other weights into an engine: those of the plan's lines "weights".

namespace
{

// ---- IRefitter

class Refitter final : public apiv::VRefitter
{
public:
    static constexpr char const* kSELF = "IRefitter";

    Refitter(IRefitter*, Engine& engine, ILogger* logger)
        : mEngine(engine)
        , mLogger(logger)
    {
    }

    bool setWeights(char const* name, WeightsRole role, Weights const weights) noexcept
    {
        RECORD(name, role, weights.count);
        return role == WeightsRole::kKERNEL && set(name, weights);
    }
    bool setNamedWeights(char const* name, Weights weights) noexcept
    {
        RECORD(name, weights.count);
        return set(name, weights);
    }
    int32_t getAll(int32_t size, char const** names, WeightsRole* roles) noexcept
    {
        RECORD(size);
        return list(size, names, roles, [](PlanWeights const&) { return true; });
    }
    int32_t getMissing(int32_t size, char const** names, WeightsRole* roles) noexcept
    {
        RECORD(size);
        return list(size, names, roles, [this](PlanWeights const& of) { return isMissing(of); });
    }
    int32_t getAllWeights(int32_t size, char const** names) noexcept
    {
        return list(size, names, nullptr, [](PlanWeights const&) { return true; });
    }
    int32_t getMissingWeights(int32_t size, char const** names) noexcept
    {
        RECORD(size);
        return list(size, names, nullptr, [this](PlanWeights const& of) { return isMissing(of); });
    }
    bool refitCudaEngine() noexcept
    {
        RECORD();
        for (PlanWeights& of : mEngine.plan().weights)
        {
            if (isMissing(of))
            {
                mLogger->log(ILogger::Severity::kERROR, ("missing: " + of.name).c_str());
                return false;
            }
            auto const given = mGiven.find(of.name);
            if (given != mGiven.end())
            {
                // As TensorRT does: what was set is read now.
                auto const* first = static_cast<float const*>(given->second.values);
                of.values.assign(first, first + given->second.count);
            }
        }
        return true;
    }

    NEVER(IRefitter *, getPImpl, ())
    NEVER(bool, setDynamicRange, (const char *, float, float))
    NEVER(float, getDynamicRangeMin, (const char *) const)
    NEVER(float, getDynamicRangeMax, (const char *) const)
    NEVER(int32_t, getTensorsWithDynamicRange, (int32_t, const char **) const)
    NEVER(void, setErrorRecorder, (IErrorRecorder *))
    NEVER(IErrorRecorder *, getErrorRecorder, () const)
    NEVER(ILogger *, getLogger, () const)
    NEVER(bool, setMaxThreads, (int32_t))
    NEVER(int32_t, getMaxThreads, () const)
    NEVER(bool, setNamedWeights, (const char *, Weights, TensorLocation))
    NEVER(bool, setNamedWeightsWithLocation, (const char *, Weights, TensorLocation))
    NEVER(Weights, getNamedWeights, (const char *) const)
    NEVER(TensorLocation, getWeightsLocation, (const char *) const)
    NEVER(bool, unsetNamedWeights, (const char *))
    NEVER(void, setWeightsValidation, (bool))
    NEVER(bool, getWeightsValidation, () const)
    NEVER(bool, refitCudaEngineAsync, (cudaStream_t))
    NEVER(Weights, getWeightsPrototype, (const char *) const)
    NEVER(bool, releaseRefitResources, ())

private:
    bool set(std::string const& name, Weights const& weights)
    {
        for (PlanWeights const& of : mEngine.plan().weights)
        {
            if (of.name == name && of.count == weights.count)
            {
                mGiven[name] = weights;
                return true;
            }
        }
        mLogger->log(ILogger::Severity::kERROR, ("no such weights: " + name).c_str());
        return false;
    }
    // A stripped plan needs all of them; of one that has weights some of a pair may be left.
    bool isMissing(PlanWeights const& of) const
    {
        return of.values.empty() && mGiven.count(of.name) == 0;
    }
    template <typename Wanted>
    int32_t list(int32_t size, char const** names, WeightsRole* roles, Wanted wanted) const
    {
        int32_t count = 0;
        for (PlanWeights const& of : mEngine.plan().weights)
        {
            if (!wanted(of))
            {
                continue;
            }
            if (names && count < size)
            {
                names[count] = of.name.c_str();
            }
            if (roles && count < size)
            {
                roles[count] = WeightsRole::kKERNEL;
            }
            ++count;
        }
        return count;
    }

    Engine& mEngine;
    ILogger* mLogger;
    std::map<std::string, Weights> mGiven;
};
} // namespace
