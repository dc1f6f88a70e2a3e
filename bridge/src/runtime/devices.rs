//! The devices that can run a model: their names, the execution providers of ONNX Runtime behind them, and which of them a
//! model gets.
//!
//! Python has the same table (`runtime/devices.py`); `tests/golden/devices.json` tests both.

use super::cpu::Cpu;
use super::providers::Providers;
use crate::BridgeError;

/// The device that stands for a choice: a GPU if one works, else the CPU.
pub(crate) const AUTO: &str = "auto";
const CPU_PROVIDER: &str = "CPUExecutionProvider";
/// How the names of all other execution providers end.
const PROVIDER_SUFFIX: &str = "ExecutionProvider";
const INDEX: &str = "device_id";

/// A kind of device.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) provider: &'static str,
    /// The option of the provider that selects one of several devices.
    option: Option<&'static str>,
    /// The values of the option; if there are none, it is an index.
    values: &'static [&'static str],
}

const fn indexed(name: &'static str, provider: &'static str) -> Kind {
    Kind { name, provider, option: Some(INDEX), values: &[] }
}

const fn single(name: &'static str, provider: &'static str) -> Kind {
    Kind { name, provider, option: None, values: &[] }
}

/// All kinds of devices.
pub(crate) const KINDS: [Kind; 7] = [
    single("cpu", CPU_PROVIDER),
    indexed("cuda", "CUDAExecutionProvider"),
    indexed("tensorrt", "TensorrtExecutionProvider"),
    indexed("migraphx", "MIGraphXExecutionProvider"),
    single("coreml", "CoreMLExecutionProvider"),
    indexed("directml", "DmlExecutionProvider"),
    Kind {
        name: "openvino",
        provider: "OpenVINOExecutionProvider",
        option: Some("device_type"),
        values: &["CPU", "GPU"],
    },
];
const ALIASES: [(&str, &str); 1] = [("rocm", "migraphx")];
/// The kinds that `auto` tries before the CPU, in this order.
const AUTO_ORDER: [&str; 3] = ["cuda", "migraphx", "directml"];

impl Kind {
    /// How a user writes the kind, such as `cuda[:INDEX]`.
    pub(crate) fn syntax(&self) -> String {
        match (self.option, self.values) {
            (None, _) => self.name.to_owned(),
            (Some(_), []) => format!("{}[:INDEX]", self.name),
            (Some(_), values) => format!("{}[:{}]", self.name, values.join("|")),
        }
    }

    /// The value of the kind's option that a text spells; `None` if it is not one.
    fn value(&self, text: &str) -> Option<String> {
        self.option?;
        if !self.values.is_empty() {
            return self.values.contains(&text).then(|| text.to_owned());
        }
        let is_index = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_index.then(|| text.parse::<u16>().ok()).flatten().map(|index| index.to_string())
    }
}

/// A device: its name, such as `cuda:1`, its execution provider and the option of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) option: Option<(&'static str, String)>,
}

impl Device {
    fn of_kind(kind: &Kind) -> Self {
        Self { name: kind.name.to_owned(), provider: kind.provider.to_owned(), option: None }
    }

    pub(super) fn cpu() -> Self {
        Self::of_kind(&KINDS[0])
    }

    /// Whether this is the CPU with ONNX Runtime's own kernels.
    pub(crate) fn is_cpu(&self) -> bool {
        self.provider == CPU_PROVIDER
    }

    /// Whether the table of devices has the provider.
    fn is_known(&self) -> bool {
        KINDS.iter().any(|kind| kind.provider == self.provider)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            return is_provider(text).then(|| Self { name: text.to_owned(), provider: text.to_owned(), option: None });
        };
        let Some(text) = value else { return Some(Self::of_kind(kind)) };
        let value = kind.value(text)?;
        Some(Self {
            name: format!("{name}:{value}"),
            provider: kind.provider.to_owned(),
            option: kind.option.map(|option| (option, value)),
        })
    }
}

fn is_provider(text: &str) -> bool {
    let is_name =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !text.starts_with(|c: char| c.is_ascii_digit());
    is_name && text.strip_suffix(PROVIDER_SUFFIX).is_some_and(|name| !name.is_empty())
}

/// The devices that a `device` option names, separated by commas; `None` for `auto`.
///
/// # Errors
/// What is wrong with the option.
pub(crate) fn parse(text: &str) -> Result<Option<Vec<Device>>, String> {
    if text == AUTO {
        return Ok(None);
    }
    let devices: Option<Vec<Device>> = text.split(',').map(Device::parse).collect();
    devices.map(Some).ok_or_else(|| {
        let names: Vec<String> = KINDS.iter().map(Kind::syntax).collect();
        format!(
            "device is {text:?}, expected {AUTO}, {}, or an execution provider of ONNX Runtime; several with commas \
             between them",
            names.join(", ")
        )
    })
}

/// The execution providers of a library and of this build.
pub(crate) trait Machine {
    /// Why the library or this build cannot have a device at all; `None` if it can.
    ///
    /// # Errors
    /// `dependency` without a usable library.
    fn lacks(&self, device: &Device) -> Result<Option<String>, BridgeError>;

    /// Why a device cannot be used; `None` if a session could be created on it.
    ///
    /// # Errors
    /// `dependency` without a usable library.
    fn probe(&self, device: &Device) -> Result<Option<String>, BridgeError>;

    /// The names of the devices that the library and this build support.
    fn available(&self) -> Vec<String>;
}

/// The devices that run a model, one per session in turn, and the providers that run its nodes. Clones share the latter.
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    chosen: Vec<Device>,
    pub(crate) providers: Providers,
}

impl Default for Devices {
    fn default() -> Self {
        Self::new(vec![Device::cpu()])
    }
}

impl Devices {
    pub(super) fn new(chosen: Vec<Device>) -> Self {
        Self { chosen, providers: Providers::default() }
    }

    /// A device that stands for the execution providers that the application passes.
    pub(crate) fn of_providers(names: &[&str]) -> Self {
        let provider = names.iter().find(|name| **name != CPU_PROVIDER).copied().unwrap_or(CPU_PROVIDER);
        Self::new(vec![Device { name: names.join(","), provider: provider.to_owned(), option: None }])
    }

    /// Chooses the devices that a `device` option names.
    ///
    /// # Errors
    /// `config` if it names none, `device` if one of them cannot be used, `dependency` without a usable library.
    pub(crate) fn select(text: &str, machine: &dyn Machine) -> Result<Self, BridgeError> {
        let Some(devices) = parse(text).map_err(BridgeError::config)? else {
            return Ok(Self::new(vec![automatic(machine)]));
        };
        devices.iter().filter(|device| !device.is_cpu()).try_for_each(|device| require(device, machine))?;
        Ok(Self::new(devices))
    }

    /// The names of the devices, separated by commas.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.chosen.iter().map(|device| device.name.as_str()).collect();
        names.join(",")
    }

    /// The number of devices.
    pub(crate) fn count(&self) -> usize {
        self.chosen.len()
    }

    /// Whether all devices are the CPU.
    pub(crate) fn is_cpu(&self) -> bool {
        self.chosen.iter().all(Device::is_cpu)
    }

    /// Whether 8-bit products are exact on the CPU; `None` for other devices.
    pub(crate) fn exact_int8(&self) -> Option<bool> {
        self.is_cpu().then(|| Cpu::detect().has_exact_int8())
    }

    /// The first of the devices that needs one of these execution providers.
    pub(crate) fn with_provider(&self, providers: &[&str]) -> Option<&Device> {
        self.chosen.iter().find(|device| providers.contains(&device.provider.as_str()))
    }

    /// The device of a session, given the number of sessions that were created before.
    pub(crate) fn in_turn(&self, session: usize) -> &Device {
        &self.chosen[session % self.chosen.len()]
    }
}

/// The first GPU that works, else the CPU. A library that cannot be loaded is an error when a graph is loaded.
fn automatic(machine: &dyn Machine) -> Device {
    let mut has_gpu = false;
    for kind in AUTO_ORDER.iter().filter_map(|name| KINDS.iter().find(|kind| kind.name == *name)) {
        let device = Device::of_kind(kind);
        let Ok(None) = machine.lacks(&device) else { continue };
        has_gpu = true;
        match machine.probe(&device) {
            Ok(None) => {
                tracing::info!(device = device.name, "device auto");
                return device;
            }
            Ok(Some(reason)) => tracing::warn!("device auto: {} cannot be used: {reason}", device.name),
            Err(error) => tracing::warn!("device auto: {} cannot be used: {error}", device.name),
        }
    }
    if has_gpu {
        tracing::warn!("device auto: cpu, because no GPU can be used");
    } else {
        tracing::info!("device auto: cpu, because this build has none of {}", AUTO_ORDER.join(", "));
    }
    Device::cpu()
}

fn require(device: &Device, machine: &dyn Machine) -> Result<(), BridgeError> {
    let reason = match machine.lacks(device)? {
        Some(reason) => Some(reason),
        None => machine.probe(device)?,
    };
    if let Some(reason) = reason {
        return Err(BridgeError::Device { device: device.name.clone(), reason, available: machine.available() });
    }
    if !device.is_known() {
        tracing::warn!("device {} is untested: it is passed to ONNX Runtime as it is", device.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    struct Cases {
        kinds: Vec<BTreeMap<String, String>>,
        parse: Vec<Parse>,
        select: Vec<Select>,
    }

    #[derive(Deserialize)]
    struct Parse {
        device: String,
        expected: Value,
    }

    #[derive(Deserialize)]
    struct Select {
        device: String,
        available: Vec<String>,
        broken: Vec<String>,
        expected: Value,
        tried: Vec<String>,
    }

    fn cases() -> Cases {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/devices.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("the shared cases")).expect("cases")
    }

    struct Fake<'a> {
        case: &'a Select,
        tried: RefCell<Vec<String>>,
    }

    impl Machine for Fake<'_> {
        fn lacks(&self, device: &Device) -> Result<Option<String>, BridgeError> {
            Ok((!self.case.available.contains(&device.provider)).then(|| "is not in this build".to_owned()))
        }

        fn probe(&self, device: &Device) -> Result<Option<String>, BridgeError> {
            self.tried.borrow_mut().push(device.name.clone());
            Ok(self.case.broken.contains(&device.name).then(|| "no such GPU".to_owned()))
        }

        fn available(&self) -> Vec<String> {
            vec!["cpu".to_owned()]
        }
    }

    #[test]
    fn the_table_has_the_shared_kinds() {
        let kind = |kind: &Kind| -> BTreeMap<String, String> {
            let pairs = [("name", kind.name), ("provider", kind.provider), ("syntax", &kind.syntax())];
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        assert_eq!(KINDS.iter().map(kind).collect::<Vec<_>>(), cases().kinds);
    }

    #[test]
    fn names_of_devices_are_parsed() {
        let json = |device: &Device| {
            let options: BTreeMap<_, _> = device.option.iter().map(|(key, value)| (*key, value)).collect();
            serde_json::json!({"name": device.name, "provider": device.provider, "options": options})
        };
        let cases = cases().parse;
        assert!(cases.len() > 40);
        for Parse { device, expected } in cases {
            let actual = match parse(&device) {
                Ok(None) => Value::Null,
                Ok(Some(devices)) => devices.iter().map(json).collect(),
                Err(message) => {
                    assert!(KINDS.iter().all(|kind| message.contains(&kind.syntax())), "{message}");
                    Value::from("config")
                }
            };
            assert_eq!(actual, expected, "{device:?}");
        }
    }

    #[test]
    fn devices_are_selected() {
        for case in &cases().select {
            let machine = Fake { case, tried: RefCell::default() };
            let actual = match Devices::select(&case.device, &machine) {
                Ok(devices) => devices.chosen.iter().map(|device| Value::from(device.name.clone())).collect(),
                Err(error) => {
                    assert!(error.to_string().contains("available: cpu"), "{error}");
                    Value::from(error.code().as_str())
                }
            };
            assert_eq!((actual, &machine.tried.into_inner()), (case.expected.clone(), &case.tried), "{}", case.device);
        }
    }

    #[test]
    fn sessions_take_devices_in_turn() {
        let devices = Devices::new(parse("cuda:0,cuda:1").expect("devices").expect("no auto"));
        let names: Vec<&str> = (0..4).map(|session| devices.in_turn(session).name.as_str()).collect();
        assert_eq!((names, devices.name().as_str()), (vec!["cuda:0", "cuda:1", "cuda:0", "cuda:1"], "cuda:0,cuda:1"));
        assert_eq!((devices.count(), devices.is_cpu(), Devices::default().is_cpu()), (2, false, true));
    }

    #[test]
    fn providers_of_the_application_are_a_device() {
        let devices = Devices::of_providers(&["CUDAExecutionProvider", "CPUExecutionProvider"]);
        assert_eq!((devices.name().as_str(), devices.is_cpu()), ("CUDAExecutionProvider,CPUExecutionProvider", false));
        assert!(Devices::of_providers(&["CPUExecutionProvider"]).is_cpu());
    }
}
