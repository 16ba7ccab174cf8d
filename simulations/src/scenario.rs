//! Scenarios: the world, the workload and the possible faults, as commented TOML.

use serde::{Deserialize, Serialize};

use crate::link::Quality;

/// The fidelity of a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fidelity {
    /// Whole nodes: swarms, handshakes, gossip, sync, stores.
    #[default]
    Wire,
    /// Engines and sessions alone, over links: thousands of nodes.
    Model,
}

impl Fidelity {
    /// The word in a run's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Model => "model",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Two halves cannot hear each other.
    Halves,
    /// A minority cannot hear the others.
    Minority,
    /// Each node hears its two neighbours only.
    Ring,
    /// Two halves share one node.
    Bridge,
    /// One half hears the other, but not the reverse.
    OneWay,
    /// One node hears nobody.
    Isolate,
    /// One node's line comes and goes.
    Flapping,
    /// Packets get lost: `amount` percent.
    Loss,
    /// Everything takes longer: `amount` milliseconds.
    Delay,
    /// Lines are narrow: `amount` kilobytes a second.
    Bandwidth,
    /// Bytes between two nodes vanish without an error.
    BlackHole,
    /// A middlebox breaks a node's connections again and again.
    Reset,
    /// The process is killed.
    Crash,
    /// The power goes at a random moment.
    PowerLoss,
    /// The power goes in the middle of a commit.
    TornCommit,
    /// The node stands still, and goes on later.
    Pause,
    /// The node is stopped in good order, and started again.
    Restart,
    /// Every step takes longer: `amount` milliseconds.
    SlowNode,
    /// Every commit takes longer: `amount` milliseconds.
    SlowDisk,
    /// The disk cannot sync.
    SyncFails,
    /// The disk lies about its syncs until the power goes.
    SyncLies,
    /// The disk changes `amount` bytes of the store by itself.
    Rot,
    /// The disk is full.
    DiskFull,
    /// The wall clock is `amount` seconds ahead (or behind, by seed).
    ClockSkew,
    /// The wall clock jumps, forward and back.
    ClockJump,
    /// The wall clock stands still.
    ClockFreeze,
    /// Strangers dial, knock and ask.
    Strangers,
    /// A member of the mesh lies, forges, replays and floods.
    LyingPeer,
    /// A new member joins through the door.
    Churn,
    /// A member's machine is stolen. Its membership is revoked, and the thief comes back with an older copy
    /// of its disk.
    StolenLaptop,
    /// Two admins end each other's membership while they are apart.
    TwoAdmins,
    /// A voter of the coordinators is taken over by another program. At last its membership ends.
    RogueSeat,
    /// A member shows different pasts to different nodes.
    TwoFaces,
    /// A member ends others' claims of tasks, and offers its own task again and again.
    Meddler,
    /// A member erases what others wrote and what nobody wrote, and sends again what was erased.
    Eraser,
    /// A member sends each node more than its quota.
    Glutton,
    /// All nodes begin with an earlier version, and get the present one, one after the other.
    RollingUpgrade,
    /// A member's machine is put back to an earlier state without a sign, and writes on.
    PutBack,
    /// A member that approves tasks is revoked, gets another key, or is named as somebody's machine.
    Approvers,
    /// Members with programs of their own approve what they may not, and claim others' machines.
    RogueApprover,
    /// A machine fails and is never up again. Its member stays one.
    Gone,
    /// A member's disk is replaced by an empty one while nobody reaches it. It goes on in another log.
    NewDisk,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Halves,
        Self::Minority,
        Self::Ring,
        Self::Bridge,
        Self::OneWay,
        Self::Isolate,
        Self::Flapping,
        Self::Loss,
        Self::Delay,
        Self::Bandwidth,
        Self::BlackHole,
        Self::Reset,
        Self::Crash,
        Self::PowerLoss,
        Self::TornCommit,
        Self::Pause,
        Self::Restart,
        Self::SlowNode,
        Self::SlowDisk,
        Self::SyncFails,
        Self::SyncLies,
        Self::Rot,
        Self::DiskFull,
        Self::ClockSkew,
        Self::ClockJump,
        Self::ClockFreeze,
        Self::Strangers,
        Self::LyingPeer,
        Self::Churn,
        Self::StolenLaptop,
        Self::TwoAdmins,
        Self::RogueSeat,
        Self::TwoFaces,
        Self::Meddler,
        Self::Eraser,
        Self::Glutton,
        Self::RollingUpgrade,
        Self::PutBack,
        Self::Approvers,
        Self::RogueApprover,
        Self::Gone,
        Self::NewDisk,
    ];

    /// The word in TOML and in `faults_fired`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Halves => "halves",
            Self::Minority => "minority",
            Self::Ring => "ring",
            Self::Bridge => "bridge",
            Self::OneWay => "one_way",
            Self::Isolate => "isolate",
            Self::Flapping => "flapping",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
            Self::BlackHole => "black_hole",
            Self::Reset => "reset",
            Self::Crash => "crash",
            Self::PowerLoss => "power_loss",
            Self::TornCommit => "torn_commit",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::SlowNode => "slow_node",
            Self::SlowDisk => "slow_disk",
            Self::SyncFails => "sync_fails",
            Self::SyncLies => "sync_lies",
            Self::Rot => "rot",
            Self::DiskFull => "disk_full",
            Self::ClockSkew => "clock_skew",
            Self::ClockJump => "clock_jump",
            Self::ClockFreeze => "clock_freeze",
            Self::Strangers => "strangers",
            Self::LyingPeer => "lying_peer",
            Self::Churn => "churn",
            Self::StolenLaptop => "stolen_laptop",
            Self::TwoAdmins => "two_admins",
            Self::RogueSeat => "rogue_seat",
            Self::TwoFaces => "two_faces",
            Self::Meddler => "meddler",
            Self::Eraser => "eraser",
            Self::Glutton => "glutton",
            Self::RollingUpgrade => "rolling_upgrade",
            Self::PutBack => "put_back",
            Self::Approvers => "approvers",
            Self::RogueApprover => "rogue_approver",
            Self::Gone => "gone",
            Self::NewDisk => "new_disk",
        }
    }

    /// Whether it cuts links through the whole network.
    pub const fn is_partition(self) -> bool {
        matches!(self, Self::Halves | Self::Minority | Self::Ring | Self::Bridge | Self::OneWay | Self::Isolate)
    }

    /// Whether it needs a node for itself: two such faults must not meet at one node.
    pub const fn takes_a_node(self) -> bool {
        matches!(
            self,
            Self::Crash
                | Self::PowerLoss
                | Self::TornCommit
                | Self::Pause
                | Self::Restart
                | Self::SlowNode
                | Self::SlowDisk
                | Self::SyncFails
                | Self::SyncLies
                | Self::Rot
                | Self::DiskFull
                | Self::ClockSkew
                | Self::ClockJump
                | Self::ClockFreeze
                | Self::Gone
                | Self::NewDisk
        )
    }
}

/// A scenario, as in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Its name, from the file's.
    pub name: String,
    /// Its subject, in one line.
    pub about: String,
    /// The default fidelity.
    pub fidelity: Fidelity,
    /// The default number of nodes.
    pub nodes: usize,
    /// The number of nodes that join through the door; the others were members before.
    pub through_the_door: usize,
    /// The length of the safety phase, in seconds of virtual time.
    pub safety_s: u64,
    /// The longest time from the heal until the mesh is whole again, in seconds.
    pub liveness_s: u64,
    /// The links, unless a region has others.
    pub network: Quality,
    /// Regions; nodes are dealt out to them in turn.
    pub regions: Vec<String>,
    /// Links between regions, or inside of one.
    pub between: Vec<Between>,
    /// Whether the nodes have coordinators and critical state. Their heartbeats take time to simulate.
    pub coordinators: bool,
    /// Whether credentials say whose machine a member is. The members join through doors then.
    pub persons: bool,
    /// The operations of people and agents.
    pub workload: Workload,
    /// The faults.
    pub fault: Vec<FaultStream>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            about: String::new(),
            fidelity: Fidelity::Wire,
            nodes: 3,
            through_the_door: 0,
            safety_s: 120,
            liveness_s: 90,
            network: Quality::default(),
            regions: Vec::new(),
            between: Vec::new(),
            coordinators: false,
            persons: false,
            workload: Workload::default(),
            fault: Vec::new(),
        }
    }
}

/// The links between two regions, in both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The two regions; twice the same for the links inside of it.
    pub regions: [String; 2],
    /// The quality of the links.
    pub quality: Quality,
}

/// The operations of people and agents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// Operations a second, on all nodes together.
    pub per_second: f64,
    /// The share of edits among them.
    pub edits: f64,
    /// The share of forgets.
    pub forgets: f64,
    /// The share of erasures. For each there are two operations on documents that are erased.
    pub erasures: f64,
    /// The share of memories with a key that others write, too.
    pub keyed: f64,
    /// The most memories written at once.
    pub batch_max: u64,
    /// The longest text, in bytes.
    pub text_bytes_max: u64,
    /// Operations on critical state a second, on all nodes together.
    pub critical_per_second: f64,
    /// Tasks submitted and workers' turns a second, on all nodes together.
    pub tasks_per_second: f64,
    /// The share of workers' turns among those; the others submit.
    pub workers: f64,
    /// The share of tasks with heirs among the tasks that are submitted, beside those that have some anyway.
    pub heirs: f64,
    /// Tasks that need an approval, words about them and workers' turns a second, on all nodes together.
    pub approvals_per_second: f64,
    /// Operations on blobs a second, on all nodes together.
    pub blobs_per_second: f64,
    /// Edits of documents a second, on all nodes together.
    pub documents_per_second: f64,
    /// Visits of programs with Automerge a second, on all nodes together.
    pub programs_per_second: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            per_second: 4.0,
            edits: 0.15,
            forgets: 0.05,
            erasures: 0.0,
            keyed: 0.1,
            batch_max: 4,
            text_bytes_max: 400,
            critical_per_second: 0.0,
            tasks_per_second: 0.0,
            workers: 0.5,
            heirs: 0.0,
            approvals_per_second: 0.0,
            blobs_per_second: 0.0,
            documents_per_second: 0.0,
            programs_per_second: 0.0,
        }
    }
}

/// A stream of faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultStream {
    /// The kinds; the seed picks one each time.
    pub kinds: Vec<FaultKind>,
    /// The shortest and the longest time from the beginning of one to the beginning of the next, in seconds.
    pub every_s: [u64; 2],
    /// The shortest and the longest duration of each, in seconds.
    pub for_s: [u64; 2],
    /// The strength; its meaning depends on the kind.
    #[serde(default)]
    pub amount: Option<[u64; 2]>,
    /// The nodes that it may affect [default: all]
    #[serde(default)]
    pub nodes: Vec<usize>,
    /// The most times.
    #[serde(default)]
    pub times: Option<u32>,
}

/// The built-in scenarios.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("anything", include_str!("../scenarios/anything.toml")),
    ("laptop-offline", include_str!("../scenarios/laptop-offline.toml")),
    ("office-cloud", include_str!("../scenarios/office-cloud.toml")),
    ("hotel-wifi", include_str!("../scenarios/hotel-wifi.toml")),
    ("three-regions", include_str!("../scenarios/three-regions.toml")),
    ("rolling-restart", include_str!("../scenarios/rolling-restart.toml")),
    ("glutton", include_str!("../scenarios/glutton.toml")),
    ("rolling-upgrade", include_str!("../scenarios/rolling-upgrade.toml")),
    ("lying-disk", include_str!("../scenarios/lying-disk.toml")),
    ("forgetful-disk", include_str!("../scenarios/forgetful-disk.toml")),
    ("rotting-disk", include_str!("../scenarios/rotting-disk.toml")),
    ("power-cuts", include_str!("../scenarios/power-cuts.toml")),
    ("hostile-strangers", include_str!("../scenarios/hostile-strangers.toml")),
    ("cloned-disk", include_str!("../scenarios/cloned-disk.toml")),
    ("stolen-laptop", include_str!("../scenarios/stolen-laptop.toml")),
    ("rogue-seat", include_str!("../scenarios/rogue-seat.toml")),
    ("two-admins", include_str!("../scenarios/two-admins.toml")),
    ("two-faces", include_str!("../scenarios/two-faces.toml")),
    ("meddler", include_str!("../scenarios/meddler.toml")),
    ("join-storm", include_str!("../scenarios/join-storm.toml")),
    ("approvals", include_str!("../scenarios/approvals.toml")),
    ("quiet", include_str!("../scenarios/quiet.toml")),
    ("handover", include_str!("../scenarios/handover.toml")),
    ("heirs", include_str!("../scenarios/heirs.toml")),
    ("cut-settlers", include_str!("../scenarios/cut-settlers.toml")),
    ("erasure", include_str!("../scenarios/erasure.toml")),
    ("files", include_str!("../scenarios/files.toml")),
    ("stolen-documents", include_str!("../scenarios/stolen-documents.toml")),
    ("programs", include_str!("../scenarios/programs.toml")),
    ("typing", include_str!("../scenarios/typing.toml")),
    ("coordinators", include_str!("../scenarios/coordinators.toml")),
    ("usurper", include_str!("../scenarios/usurper.toml")),
    ("amnesia", include_str!("../scenarios/amnesia.toml")),
    ("thousand", include_str!("../scenarios/thousand.toml")),
];

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The fault of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        name.clone_into(&mut scenario.name);
        if scenario.nodes < 2 || scenario.safety_s == 0 || scenario.liveness_s == 0 {
            return Err("a scenario needs two nodes, and time".to_owned());
        }
        Ok(scenario)
    }

    /// The scenario of this name, or in this file.
    ///
    /// # Errors
    /// There is none, or a fault of its text.
    pub fn named(name: &str) -> Result<Self, String> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = std::path::Path::new(name);
        if path.extension().is_none_or(|end| end != "toml") {
            return Err(format!("there is no scenario {name}; `nexus-sim list` shows them"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem, &text).map_err(|error| format!("{name}: {error}"))
    }
}
