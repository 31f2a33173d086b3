# Which C++ tests are for the CUDA back end, as GoogleTest's filters. Sourced by gpu-check.sh, emulated-cuda.sh and
# emulated-sanitize.sh.

# Files, the packed engine, CPU kernels, folding and the memory of the host know no device.
cpu_only='*Reader*:*Packed*:Sha256*:*Kernel*:Allocator*:Threads*:Fold*:PlanCache*:ProductTable*:Limits*:Rows/*'
cpu_only+=':FloatProduct*:CpuFeatures*:OperandChoice*:ByteWeightsCache*'

# These suites read and write tensors where they lie, so they need device memory that the host may touch.
in_place='CountDifferentSigns.*:Discretize.*:DorefaWeights.*:DorefaWeightsBackward.*:Dropout.*:Elementwise.*:MagnitudeSignBackward.*'
in_place+=':Magnitudes.*:MaskBackward.*:PackSigns.*:PackSignsShifted.*:Planes.*:Quantize.*:QuantizeWeights.*:ReshapeSigns.*:Rows.*'
in_place+=':ScaleChannels.*:SignForward.*:SwishSignBackward.*:Tensor.*'

# Small shapes that reach every kernel; none touches a tensor where it lies.
small_shapes='CudaQuantizers.*:CudaDeployed.*:CudaProduct.HoldsSums*:CudaProduct.IsExactBeyond*:CudaBinaryLayer.GivesBits:CudaBinaryLayer.KeepsWeights*:CudaBinaryLayer.TakesMore*'
small_shapes+=':CudaFloat.EveryTile*:CudaFloat.Bf16*:CudaTraining.Pooling*:CudaTraining.Optimizers*:CudaTraining.Losses*'
small_shapes+=':BinaryGradient.*:ByteGradient.CanBe*:ByteGradient.Reports*:ByteGradient.LongBatches*:ByteGradient.EqualsIntegersOnOdd*'
small_shapes+=':BatchNormSign/?.Results*:BatchNorm/?.ImagesAre*:BatchNormStatistics.LargeIntegers*:OrderedFloat.ThreadsDo*'
small_shapes+=':Dense.SumRows*:Dense.Repeats*:Dense.Empty*:Conv2d.Repeats*:Perturbation.DoesNot*:CodesMatmul.EqualsALoop*'
small_shapes+=':Random.Results*:QuantizeGradient.Takes*:CombinePlanes.*:Attack*.DoesNot*:AttackSignStart.*:AttackStep.Moves*'
small_shapes+=':AttackStepL2.AZero*:*AttackStart.StaysInside*:ApproxSignBackward.*:SoftmaxCrossEntropy.Results*:Optimizers.Results*'
small_shapes+=':Elementwise.Results*:Elementwise.IntTo*:Elementwise.U8*:Quantize.Results*:QuantizeWeights.Results*:Rows.ImagesOfBits*'
small_shapes+=':Rows.Concat*:Rows.ZeroRows*:CudaRecording.Draws*'
