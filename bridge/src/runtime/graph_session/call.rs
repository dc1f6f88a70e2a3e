//! Calls of ONNX Runtime's C interface that run a session. The methods of `ort` need exclusive access to the session.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::mpsc::{Sender, channel};

use ort::AsPointer;
use ort::session::{RunOptions, Session};
use ort::sys::{OrtStatusPtr, OrtValue};
use ort::value::DynValue;

/// A run that has not started. It owns or borrows all that ONNX Runtime reads and writes during the run.
pub(super) struct Call<'a> {
    session: &'a Session,
    options: &'a RunOptions,
    input_names: Names,
    inputs: Vec<DynValue>,
    output_names: Names,
}

impl<'a> Call<'a> {
    /// # Errors
    /// An error of `ort` for a name with a NUL character.
    pub(super) fn new(
        session: &'a Session,
        options: &'a RunOptions,
        inputs: Vec<(&str, DynValue)>,
        outputs: &[&str],
    ) -> ort::Result<Self> {
        let (names, inputs): (Vec<&str>, Vec<DynValue>) = inputs.into_iter().unzip();
        Ok(Self { session, options, input_names: Names::new(&names)?, inputs, output_names: Names::new(outputs)? })
    }

    /// Runs the graph on this thread.
    ///
    /// # Errors
    /// The error of ONNX Runtime.
    pub(super) fn on_this_thread(&self) -> ort::Result<Vec<DynValue>> {
        let mut outputs = self.no_outputs();
        let inputs = self.input_pointers();
        // SAFETY: every pointer is valid until the call returns, and every array has the length that is passed with it.
        // ONNX Runtime allows runs of one session on several threads.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                self.options.ptr(),
                self.input_names.pointers.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                self.output_names.pointers.as_ptr(),
                outputs.len(),
                outputs.as_mut_ptr(),
            )
        };
        // SAFETY: the status is the one that the call above has returned, and it is used only here.
        unsafe { ort::Error::result_from_status(status) }?;
        self.values(outputs)
    }

    /// Runs the graph on a thread of the session, and waits for the end of the run. If ONNX Runtime refuses that, this
    /// thread runs the graph.
    ///
    /// # Errors
    /// The error of ONNX Runtime.
    pub(super) fn on_session_thread(&self) -> ort::Result<Vec<DynValue>> {
        let mut outputs = self.no_outputs();
        let inputs = self.input_pointers();
        let (sender, receiver) = channel::<Ended>();
        let sender = Box::into_raw(Box::new(sender));
        // SAFETY: every array has the length that is passed with it. Every pointer is valid until the run has ended,
        // because this function does not return before that: it receives what `ended` sends, and nothing before can panic.
        let refused = unsafe {
            (ort::api().RunAsync)(
                self.session.ptr().cast_mut(),
                self.options.ptr(),
                self.input_names.pointers.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                self.output_names.pointers.as_ptr(),
                outputs.len(),
                outputs.as_mut_ptr(),
                Some(ended),
                sender.cast(),
            )
        };
        // SAFETY: the status is the one that the call above has returned, and it is used only here.
        if unsafe { ort::Error::result_from_status(refused) }.is_err() {
            // SAFETY: the run was not started, so that `ended`, which would free the sender, is never called.
            drop(unsafe { Box::from_raw(sender) });
            return self.on_this_thread();
        }
        let Ended(status) = receiver.recv().map_err(|_| ort::Error::new("a run has ended without a result"))?;
        // SAFETY: ONNX Runtime has passed the status to `ended`, which owns it and has only sent it here.
        unsafe { ort::Error::result_from_status(status) }?;
        self.values(outputs)
    }

    fn input_pointers(&self) -> Vec<*const OrtValue> {
        self.inputs.iter().map(AsPointer::ptr).collect()
    }

    /// Pointers that ONNX Runtime replaces by those of the outputs, if the run succeeds.
    fn no_outputs(&self) -> Vec<*mut OrtValue> {
        vec![null_mut(); self.output_names.pointers.len()]
    }

    /// Takes over the outputs of a run.
    fn values(&self, outputs: Vec<*mut OrtValue>) -> ort::Result<Vec<DynValue>> {
        let value = |pointer| {
            let pointer = NonNull::new(pointer).ok_or_else(|| ort::Error::new("an output is missing"))?;
            // SAFETY: the run has created the value with the session's allocator, and nobody else frees it.
            Ok(unsafe { DynValue::from_ptr(pointer, Some(self.session.allocator())) })
        };
        outputs.into_iter().map(value).collect()
    }
}

/// Names as C strings, and the pointers to them.
struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

impl Names {
    fn new(names: &[&str]) -> ort::Result<Self> {
        let owned = names.iter().map(|name| Ok(CString::new(*name)?)).collect::<ort::Result<Vec<CString>>>()?;
        Ok(Self { pointers: owned.iter().map(|name| name.as_ptr()).collect(), _owned: owned })
    }
}

/// The status of a run that has ended: null, or an error.
struct Ended(OrtStatusPtr);

// SAFETY: a status is a value on the heap that belongs to no thread.
unsafe impl Send for Ended {}

/// Sends the status of a run to the thread that waits for it. ONNX Runtime calls this once per run. It cannot panic, and a
/// panic in an `extern "C"` function would end the process and not unwind.
unsafe extern "C" fn ended(sender: *mut c_void, _: *mut *mut OrtValue, _: usize, status: OrtStatusPtr) {
    // SAFETY: `on_session_thread` has passed the pointer, which `Box::into_raw` has returned, for this only call.
    let sender = unsafe { Box::from_raw(sender.cast::<Sender<Ended>>()) };
    // The receiver waits in any case.
    let _ = sender.send(Ended(status));
}
