//! From a core module to a component.

use wit_component::ComponentEncoder;

/// Makes a component of what the compiler made: a core module whose custom sections describe its
/// world, or already a component, if the target's own linker makes one.
pub(crate) fn componentize(module: Vec<u8>) -> Result<Vec<u8>, String> {
    if wasmparser::Parser::is_component(&module) {
        return Ok(module);
    }
    if !wasmparser::Parser::is_core_wasm(&module) {
        return Err("the compiler's output is not WebAssembly".to_owned());
    }
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("no component can be made of it: {error:#}; does it call the SDK's export! macro?"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_component_stays_as_it_is_and_other_bytes_are_refused() {
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(componentize(component.clone()).unwrap(), component);
        assert!(componentize(b"text".to_vec()).is_err());
    }
}
