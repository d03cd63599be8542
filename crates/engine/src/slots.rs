//! Whose turn it is: the slots of a build, which steps take while they execute.
//!
//! Steps that many others wait for go first. Emulated steps take several times as long as native ones, so neither may keep the other
//! from beginning:
//!
//! - one slot stays free of emulated steps as long as a native one may still come;
//! - one slot goes to an emulated step if one waits and none is running;
//! - the others go to native steps first: if the build is going to fail, they show it sooner.
//!
//! [`Queue`] decides, and knows nothing of tasks; [`Slots`] lets tasks wait.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use archway_graph::{Graph, Node, NodeId, Op};
use archway_oci::Platform;
use tokio::sync::oneshot;

/// How much longer than on its own processor a program takes when it is emulated.
const EMULATION_FACTOR: u32 = 8;
/// How much longer a process is thought to take than a copy.
const PROCESS_COST: u32 = 4;

/// How a step executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Native,
    Emulated,
}

/// What a step that wants a slot has to say for itself. The least one is the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// What is thought to be left to do with it and with what waits for it.
    rank: Reverse<u32>,
    /// How many platforms need it.
    platforms: Reverse<usize>,
    node: NodeId,
}

/// What has to be known of each node, by its number.
#[derive(Debug)]
struct Step {
    class: Class,
    claim: Claim,
    /// Whether it may want a slot at all.
    takes_slot: bool,
}

impl Step {
    /// Those of `graph`, on a machine that runs the programs of `host`.
    fn all(graph: &Graph, host: &Platform) -> Vec<Self> {
        let mut ranks = vec![0_u32; graph.nodes.len()];
        // The inputs of a node come before it, so what waits for a node has been looked at before the node.
        for node in graph.nodes.iter().rev() {
            let index = node.id.0 as usize;
            ranks[index] = ranks[index].saturating_add(cost(node, host));
            let rank = ranks[index];
            for input in node.op.inputs() {
                let below = &mut ranks[input.0 as usize];
                *below = rank.max(*below);
            }
        }
        let step = |node: &Node| Self {
            class: class(node, host),
            claim: Claim {
                rank: Reverse(ranks[node.id.0 as usize]),
                platforms: Reverse(node.serves.len()),
                node: node.id,
            },
            takes_slot: matches!(node.op, Op::Run(_) | Op::Copy(_)),
        };
        graph.nodes.iter().map(step).collect()
    }
}

fn class(node: &Node, host: &Platform) -> Class {
    match &node.op {
        Op::Run(op) if !op.platform.runs_natively_on(host) => Class::Emulated,
        _ => Class::Native,
    }
}

fn cost(node: &Node, host: &Platform) -> u32 {
    match (&node.op, class(node, host)) {
        (Op::Run(_), Class::Native) => PROCESS_COST,
        (Op::Run(_), Class::Emulated) => PROCESS_COST * EMULATION_FACTOR,
        (Op::Copy(_) | Op::Git(_) | Op::Http(_), _) => 1,
        (Op::Scratch | Op::Image(_) | Op::Mkdir(_), _) => 0,
    }
}

/// Who runs and who waits.
#[derive(Debug)]
struct Queue<T> {
    slots: usize,
    running: Count,
    /// By claim, and among equal ones by arrival: a node can be tried twice.
    waiting_native: BTreeMap<(Claim, u64), T>,
    waiting_emulated: BTreeMap<(Claim, u64), T>,
    arrived: u64,
    /// Native steps that have not ended, whether they will want a slot or not.
    native_left: HashSet<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    native: usize,
    emulated: usize,
}

impl<T> Queue<T> {
    fn new(slots: usize, native_left: HashSet<NodeId>) -> Self {
        Self {
            slots: slots.max(1),
            running: Count::default(),
            waiting_native: BTreeMap::new(),
            waiting_emulated: BTreeMap::new(),
            arrived: 0,
            native_left,
        }
    }

    fn wait(&mut self, class: Class, claim: Claim, waiter: T) {
        self.arrived += 1;
        match class {
            Class::Native => self.waiting_native.insert((claim, self.arrived), waiter),
            Class::Emulated => self.waiting_emulated.insert((claim, self.arrived), waiter),
        };
    }

    /// The one whose turn it is, which then runs; `None` if all have to wait.
    fn next(&mut self) -> Option<(Class, T)> {
        let class = self.turn()?;
        let (waiting, running) = match class {
            Class::Native => (&mut self.waiting_native, &mut self.running.native),
            Class::Emulated => (&mut self.waiting_emulated, &mut self.running.emulated),
        };
        let (_, waiter) = waiting.pop_first()?;
        *running += 1;
        Some((class, waiter))
    }

    fn turn(&self) -> Option<Class> {
        let Count { native, emulated } = self.running;
        let free = self.slots.checked_sub(native + emulated).filter(|free| *free > 0)?;
        let is_kept_for_native = self.slots > 1 && free == 1 && native == 0 && !self.native_left.is_empty();
        let is_last_for_emulated = self.slots > 1 && free == 1 && emulated == 0;
        let (wants_native, wants_emulated) =
            (!self.waiting_native.is_empty(), !self.waiting_emulated.is_empty() && !is_kept_for_native);
        if wants_emulated && is_last_for_emulated {
            Some(Class::Emulated)
        } else if wants_native {
            Some(Class::Native)
        } else if wants_emulated {
            Some(Class::Emulated)
        } else {
            None
        }
    }

    fn release(&mut self, class: Class) {
        match class {
            Class::Native => self.running.native -= 1,
            Class::Emulated => self.running.emulated -= 1,
        }
    }
}

/// The slots of a build.
#[derive(Debug)]
pub(crate) struct Slots {
    steps: Vec<Step>,
    queue: Mutex<Queue<oneshot::Sender<Slot>>>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
#[must_use = "the slot is free when this is dropped"]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    class: Class,
}

impl Slots {
    /// So many, for the steps of `graph`, on a machine that runs the programs of `host`.
    pub(crate) fn new(count: usize, graph: &Graph, host: &Platform) -> Arc<Self> {
        let steps = Step::all(graph, host);
        let native = steps.iter().filter(|step| step.takes_slot && step.class == Class::Native);
        let native = native.map(|step| step.claim.node).collect();
        Arc::new(Self { steps, queue: Mutex::new(Queue::new(count, native)) })
    }

    /// How a node executes.
    pub(crate) fn class(&self, node: NodeId) -> Class {
        self.steps[node.0 as usize].class
    }

    /// Waits for the turn of a node.
    pub(crate) async fn take(self: &Arc<Self>, node: NodeId) -> Slot {
        let Step { class, claim, .. } = &self.steps[node.0 as usize];
        let (sender, turn) = oneshot::channel();
        self.queue().wait(*class, *claim, sender);
        self.hand_out();
        turn.await.expect("a waiter leaves the queue with a slot")
    }

    /// Notes that a node has ended, in whatever way.
    pub(crate) fn ended(self: &Arc<Self>, node: NodeId) {
        let was_left = self.queue().native_left.remove(&node);
        if was_left {
            self.hand_out();
        }
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((class, waiter)) = self.queue().next() else { return };
            // Somebody who waits no more gives it back by dropping it.
            let _ = waiter.send(Slot { slots: self.clone(), class });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Slot>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.queue().release(self.class);
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use archway_graph::{CopyOp, CopySource, RunOp};

    use super::*;
    use crate::key::fixtures::run_op;
    use Class::{Emulated, Native};

    /// A graph of these operations, for one platform.
    fn graph(ops: Vec<Op>) -> Graph {
        let node = |(id, op)| Node { id: NodeId(id), op, serves: vec![0], span: None, label: None };
        let (nodes, outputs) = ((0..).zip(ops).map(node).collect(), Vec::new());
        Graph { nodes, outputs, proxy_env: Vec::new(), source_date_epoch: None, warnings: Vec::new() }
    }

    fn run(base: u32, platform: &str) -> Op {
        Op::Run(RunOp { base: NodeId(base), platform: platform.parse().unwrap(), ..run_op() })
    }

    #[test]
    fn the_work_behind_a_step_decides_and_emulation_makes_it_more() {
        let copied = CopySource::Node { node: NodeId(1), paths: Vec::new() };
        let graph = graph(vec![
            Op::Scratch,
            // A compiler on the build machine, whose result an emulated step uses.
            run(0, "linux/amd64"),
            Op::Copy(CopyOp::plain(NodeId(0), vec![copied], "/")),
            run(2, "linux/arm64"),
            // Nobody waits for it.
            run(0, "linux/amd64"),
        ]);
        let steps = Step::all(&graph, &Platform::new("linux", "amd64", None));
        let ranks: Vec<u32> = steps.iter().map(|step| step.claim.rank.0).collect();
        assert_eq!(ranks, [37, 37, 33, 32, 4]);
        let classes: Vec<Class> = steps.iter().map(|step| step.class).collect();
        assert_eq!(classes, [Native, Native, Native, Emulated, Native]);
        assert!(steps[1].claim < steps[4].claim);
        let slots = Slots::new(2, &graph, &Platform::new("linux", "amd64", None));
        assert_eq!(slots.queue().native_left, HashSet::from([1, 2, 4].map(NodeId)));
        // A node that is tried again does not count twice.
        slots.ended(NodeId(4));
        slots.ended(NodeId(4));
        slots.ended(NodeId(3));
        assert_eq!(slots.queue().native_left.len(), 2);
    }

    fn claim(rank: u32, node: u32) -> Claim {
        Claim { rank: Reverse(rank), platforms: Reverse(1), node: NodeId(node) }
    }

    fn left(count: u32) -> HashSet<NodeId> {
        (0..count).map(NodeId).collect()
    }

    /// Those whose turn it is, by class, if so many of each wait.
    fn turns(queue: &mut Queue<()>, native: u32, emulated: u32) -> Vec<Class> {
        for node in 0..native {
            queue.wait(Native, claim(1, node), ());
        }
        for node in 0..emulated {
            queue.wait(Emulated, claim(1, node), ());
        }
        std::iter::from_fn(|| queue.next()).map(|(class, ())| class).collect()
    }

    #[test]
    fn neither_class_keeps_the_other_waiting() {
        let table = [
            // Slots, native steps in the build, waiting of each: who runs.
            (1, 3, (1, 1), vec![Native]),
            (1, 3, (0, 1), vec![Emulated]),
            (2, 3, (3, 3), vec![Native, Emulated]),
            (2, 3, (3, 0), vec![Native, Native]),
            // A native one may still come.
            (2, 3, (0, 3), vec![Emulated]),
            (2, 0, (0, 3), vec![Emulated, Emulated]),
            (4, 9, (9, 9), vec![Native, Native, Native, Emulated]),
            (4, 9, (1, 9), vec![Native, Emulated, Emulated, Emulated]),
            (4, 9, (0, 9), vec![Emulated, Emulated, Emulated]),
            (0, 1, (1, 0), vec![Native]),
        ];
        for (slots, native_left, (native, emulated), expected) in table {
            let mut queue = Queue::new(slots, left(native_left));
            assert_eq!(turns(&mut queue, native, emulated), expected, "{slots} {native} {emulated}");
        }
    }

    #[test]
    fn a_free_slot_goes_to_the_class_that_has_none() {
        let mut queue = Queue::new(2, left(5));
        assert_eq!(turns(&mut queue, 2, 2), [Native, Emulated]);
        queue.release(Emulated);
        assert_eq!(turns(&mut queue, 0, 0), [Emulated]);
        queue.release(Native);
        assert_eq!(turns(&mut queue, 0, 0), [Native]);
        // No native one can come any more.
        queue.release(Native);
        queue.native_left.clear();
        assert_eq!(turns(&mut queue, 0, 1), [Emulated]);
    }

    #[test]
    fn the_longest_way_goes_first() {
        let mut queue = Queue::new(9, left(9));
        for (rank, node) in [(1, 1), (7, 2), (7, 3), (2, 4), (7, 2)] {
            queue.wait(Native, claim(rank, node), node);
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.next()).map(|(_, node)| node).collect();
        assert_eq!(order, [2, 2, 3, 4, 1]);
    }

    #[tokio::test]
    async fn who_waits_no_more_keeps_nobody_waiting() {
        let queue = Mutex::new(Queue::new(1, left(2)));
        let steps =
            (0..3).map(|node| Step { class: Native, claim: claim(1, node), takes_slot: true }).collect();
        let slots = Arc::new(Slots { steps, queue });
        let first = slots.take(NodeId(0)).await;
        let second = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(NodeId(1)).await }
        });
        tokio::task::yield_now().await;
        second.abort();
        let _ = second.await;
        let third = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(NodeId(2)).await.class }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        drop(first);
        assert_eq!(third.await.unwrap(), Native);
        assert_eq!(slots.queue().running, Count::default());
    }
}
