//! Attention, written out as the products and the softmax that it is: tract's own goes through the heads on threads of its own,
//! as many as there are cores, and takes twice as long. A row that its mask lets see nothing is 0, and not what a softmax of
//! nothing is.

use super::Built;
use crate::backend::cpu::numeric::largest;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;
use tract_onnx::tract_hir::ops::math::{add, mul};
use tract_onnx::tract_hir::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::logic::{Iff, comp_eq};
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax, SoftmaxKind};

#[derive(Clone, Debug)]
struct Attention {
    /// Of queries, and of keys and values, where they lie side by side in the last of three axes.
    heads: [Option<usize>; 2],
    causal: bool,
    scale: Option<f64>,
    /// Which of the inputs there are: a mask, keys and values from before.
    given: [bool; 3],
    /// Which of the outputs there are beside the first: all keys, all values.
    present: [bool; 2],
}

/// Where the nodes of one attention are put.
struct Writer<'a> {
    prefix: &'a str,
    model: &'a mut TypedModel,
    /// Of queries, and of everything computed.
    kind: DatumType,
}

impl Writer<'_> {
    fn wire(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        Ok(self.model.wire_node(format!("{}.{name}", self.prefix), op, inputs)?[0])
    }

    /// An operator on tensors that are made as long in their axes as one another.
    fn broadcast(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        Ok(wire_with_rank_broadcast(format!("{}.{name}", self.prefix), self.model, op, inputs)?[0])
    }

    fn number(&mut self, name: &str, value: f64) -> TractResult<OutletId> {
        self.constant(name, tensor0(value))
    }

    fn constant(&mut self, name: &str, values: Tensor) -> TractResult<OutletId> {
        self.model.add_const(format!("{}.{name}", self.prefix), values.cast_to_dt(self.kind)?.into_owned())
    }

    fn extent(&self, tensor: OutletId, axis: usize) -> TractResult<TDim> {
        let fact = self.model.outlet_fact(tensor)?;
        fact.shape.get(axis).cloned().with_context(|| format!("what it takes has no axis {axis}"))
    }

    /// Batch, heads, rows, columns.
    fn apart(&mut self, name: &str, tensor: OutletId, heads: Option<usize>) -> TractResult<OutletId> {
        if self.model.outlet_fact(tensor)?.rank() == 4 {
            return Ok(tensor);
        }
        let heads = heads.context("how many heads it has is not said")?;
        let all = self.extent(tensor, 2)?;
        let axes = tvec![heads.to_dim(), all.clone() / heads];
        let split = self.wire(&format!("{name}_apart"), AxisOp::Reshape(2, tvec![all], axes), &[tensor])?;
        self.wire(&format!("{name}_heads"), AxisOp::Move(2, 1), &[split])
    }

    fn together(&mut self, tensor: OutletId) -> TractResult<OutletId> {
        let axes = tvec![self.extent(tensor, 1)?, self.extent(tensor, 3)?];
        let all = axes[0].clone() * axes[1].clone();
        let rows = self.wire("rows", AxisOp::Move(1, 2), &[tensor])?;
        self.wire("together", AxisOp::Reshape(2, axes, tvec![all]), &[rows])
    }

    /// What is added to the scores, of four axes.
    fn mask(&mut self, mut mask: OutletId) -> TractResult<OutletId> {
        let fact = self.model.outlet_fact(mask)?.clone();
        if fact.datum_type == bool::datum_type() {
            let (seen, hidden) = (self.number("seen", 0.0)?, self.number("hidden", f64::NEG_INFINITY)?);
            mask = self.broadcast("mask", Iff, &[mask, seen, hidden])?;
        } else if fact.datum_type != self.kind {
            mask = self.wire("mask", cast(self.kind), &[mask])?;
        }
        for axis in fact.rank()..4 {
            mask = self.wire(&format!("mask_axis{axis}"), AxisOp::Add(0), &[mask])?;
        }
        Ok(mask)
    }

    /// What hides from each row the columns after it.
    fn later(&mut self, queries: OutletId, keys: OutletId) -> TractResult<OutletId> {
        let (rows, columns) = (self.extent(queries, 2)?.to_usize()?, self.extent(keys, 2)?.to_usize()?);
        let later = |(_, _, row, column)| if column > row { f32::NEG_INFINITY } else { 0.0 };
        self.constant("later", tract_ndarray::Array4::from_shape_fn((1, 1, rows, columns), later).into_tensor())
    }

    /// 0 in the rows that see nothing.
    fn sighted(&mut self, mask: OutletId, result: OutletId) -> TractResult<OutletId> {
        let largest = self.wire("largest", largest(3), &[mask])?;
        let (hidden, zero) = (self.number("nothing", f64::NEG_INFINITY)?, self.number("zero", 0.0)?);
        let blind = self.broadcast("blind", TypedBinOp(comp_eq(), None), &[largest, hidden])?;
        self.broadcast("sighted", Iff, &[blind, zero, result])
    }

    /// The rows of values, weighted; several heads of queries may share one of keys and values.
    fn weighted(
        &mut self,
        [mut queries, keys, values]: [OutletId; 3],
        scale: f64,
        mut mask: Option<OutletId>,
    ) -> TractResult<OutletId> {
        let (all, shared) = (self.extent(queries, 1)?, self.extent(keys, 1)?);
        let shares = all.to_usize()? / shared.to_usize()?.max(1);
        let groups = (shares != 1).then(|| (tvec![all.clone()], tvec![shared.clone(), shares.to_dim()]));
        let scale = self.number("scale", scale)?;
        queries = self.broadcast("scaled", mul(), &[queries, scale])?;
        if let Some((all, apart)) = &groups {
            queries = self.wire("shares", AxisOp::Reshape(1, all.clone(), apart.clone()), &[queries])?;
            if let Some(given) = mask {
                let op = match self.extent(given, 1)?.is_one() {
                    true => AxisOp::Add(1),
                    false => AxisOp::Reshape(1, all.clone(), apart.clone()),
                };
                mask = Some(self.wire("mask_shares", op, &[given])?);
            }
        }
        let (scores, weighted) = match groups {
            None => ("bhmk,bhnk->bhmn", "bhmn,bhnv->bhmv"),
            Some(_) => ("bhgmk,bhnk->bhgmn", "bhgmn,bhnv->bhgmv"),
        };
        let mut scores = self.wire("scores", EinSum::new(scores.parse()?, self.kind), &[queries, keys])?;
        if let Some(mask) = mask {
            scores = self.broadcast("masked", add(), &[scores, mask])?;
        }
        let axis = self.model.outlet_fact(scores)?.rank() - 1;
        let softmax = Softmax::new(tvec![axis], None, SoftmaxKind::Softmax);
        let weights = self.wire("weights", softmax, &[scores])?;
        let result = self.wire("weighted", EinSum::new(weighted.parse()?, self.kind), &[weights, values])?;
        match groups {
            None => Ok(result),
            Some((all, apart)) => self.wire("shared", AxisOp::Reshape(1, apart, all), &[result]),
        }
    }
}

impl Expansion for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(1 + self.present.iter().filter(|present| **present).count())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3 + self.given.iter().filter(|given| **given).count())?;
        check_output_arity(outputs, Expansion::nboutputs(self)?)?;
        for output in outputs {
            solver.equals(&inputs[0].datum_type, &output.datum_type)?;
        }
        solver.equals(&inputs[0].rank, &outputs[0].rank)?;
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?.clone();
        let mut more = inputs[3..].iter();
        let [mask, past_keys, past_values] = self.given.map(|given| if given { more.next().copied() } else { None });
        let mut to = Writer { prefix, model, kind: fact.datum_type };
        let queries = to.apart("queries", inputs[0], self.heads[0])?;
        let mut keys = to.apart("keys", inputs[1], self.heads[1])?;
        let mut values = to.apart("values", inputs[2], self.heads[1])?;
        if let Some(past) = past_keys {
            keys = to.wire("all_keys", TypedConcat { axis: 2 }, &[past, keys])?;
        }
        if let Some(past) = past_values {
            values = to.wire("all_values", TypedConcat { axis: 2 }, &[past, values])?;
        }
        let mut mask = mask.map(|mask| to.mask(mask)).transpose()?;
        let masked = mask.is_some();
        if self.causal {
            let later = to.later(queries, keys)?;
            mask = Some(match mask {
                Some(mask) => to.broadcast("mask_causal", add(), &[mask, later])?,
                None => later,
            });
        }
        let scale = match self.scale {
            Some(scale) => scale,
            None => (to.extent(queries, 3)?.to_usize()? as f64).sqrt().recip(),
        };
        let mut result = to.weighted([queries, keys, values], scale, mask)?;
        // Without a mask of the model's each row sees its first column.
        if let Some(mask) = mask.filter(|_| masked) {
            result = to.sighted(mask, result)?;
        }
        if fact.rank() == 3 {
            result = to.together(result)?;
        }
        let all = [keys, values].into_iter().zip(self.present).filter(|(_, present)| *present);
        Ok([result].into_iter().chain(all.map(|(tensor, _)| tensor)).collect())
    }
}

fn attention(_: &ParsingContext, proto: &NodeProto) -> Built {
    let has = |names: &[String], place: usize| names.get(place).is_some_and(|name| !name.is_empty());
    let operator = Attention {
        heads: [proto.get_attr_opt("q_num_heads")?, proto.get_attr_opt("kv_num_heads")?],
        causal: proto.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0,
        scale: proto.get_attr_opt::<f32>("scale")?.map(f64::from),
        given: [3, 4, 5].map(|place| has(&proto.input, place)),
        present: [1, 2].map(|place| has(&proto.output, place)),
    };
    Ok((expand(operator), Vec::new()))
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("Attention", attention);
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{model, node, value};
    use super::super::super::{CpuEngine, CpuOptions};
    use crate::backend::Cancellation;
    use crate::model::Origin;
    use crate::tensor::Shape;
    use prost::Message;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::prelude::*;

    #[test]
    fn rows_that_see_nothing_are_0() {
        for (kind, runs) in [(DataType::Float, f32::datum_type()), (DataType::Double, f64::datum_type())] {
            let extents: [&[i64]; 4] = [&[1, 1, 2, 2], &[1, 1, 2, 2], &[1, 1, 2, 2], &[2, 2]];
            let inputs = ["q", "k", "v", "m"].iter().zip(extents).map(|(name, extents)| {
                let extents: Vec<_> = extents.iter().map(i64::to_string).collect();
                value(name, kind, &extents.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let nodes = vec![node("Attention", &["q", "k", "v", "m"], &["y"])];
            let mut proto = model(nodes, inputs.collect(), vec![value("y", kind, &[""; 4])], Vec::new());
            proto.opset_import[0].version = 23;
            let options = CpuOptions { threads: 1, shape_cache: 1 };
            let engine = CpuEngine::new(&proto.encode_to_vec(), Origin::default(), options).unwrap();
            let shapes = extents.map(|extents| Shape::new(extents).unwrap());
            let plan = engine.plans.get(&engine.model, &shapes, Vec::new()).unwrap();
            let mask = [f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY];
            let values = [&[1.0, 2.0, 3.0, 4.0], &[0.5; 4], &[5.0, 6.0, 7.0, 8.0], &mask];
            let inputs = extents.iter().zip(values).map(|(extents, values)| {
                let extents: Vec<_> = extents.iter().map(|extent| *extent as usize).collect();
                let wide = Tensor::from_shape(&extents, values).unwrap();
                wide.cast_to_dt(runs).unwrap().into_owned().into_tvalue()
            });
            let results = plan.run(&engine.model, inputs.collect(), &Cancellation::default()).unwrap();
            let result = results[0].cast_to::<f64>().unwrap();
            assert_eq!(result.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap(), [0.0, 0.0, 5.0, 6.0], "{kind:?}");
        }
    }
}
