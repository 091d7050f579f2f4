//! Which models a board runs: any that it can, or, with the feature `signed`, those that the owner of its key has signed.

use flowcast_core::wire::ModelFault;

use crate::state::Forecaster;

#[cfg(feature = "signed")]
include!(concat!(env!("OUT_DIR"), "/key.rs"));

/// Binds a model that the board trusts.
///
/// # Errors
/// It is not signed by the board's key, or does not run here; the forecaster then has no model.
#[allow(clippy::result_large_err, reason = "there is no heap to put its words on")]
pub fn bind(forecaster: &mut Forecaster, model: &'static [u8]) -> Result<(), ModelFault> {
    forecaster.bind(model)?;
    #[cfg(feature = "signed")]
    if let Err(error) = flowcast_core::signature::verify(model, &KEY) {
        // What is not trusted is not run by whoever overlooks the error either.
        let _ = forecaster.bind(&[]);
        return Err(error.into());
    }
    Ok(())
}
