//! The derives `Settings` and `Choice` of `weir-plugin`: they turn a serde struct into the parameters of the manifest.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, UnOp};

/// Makes parameters of a struct's fields. The doc comment is the description;
/// `#[setting(default = …, min = …, max = …, step = …, unit = "…")]` says the rest.
#[proc_macro_derive(Settings, attributes(setting))]
pub fn settings(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive_settings(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes a parameter's allowed words of an enum's variants, in kebab-case, as
/// `#[serde(rename_all = "kebab-case")]` reads them.
#[proc_macro_derive(Choice)]
pub fn choice(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive_choice(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn derive_settings(input: &DeriveInput) -> Result<TokenStream, Error> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(name.span(), "`Settings` can be derived for a struct only"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(name.span(), "`Settings` needs named fields"));
    };
    let parameters = fields.named.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
    Ok(quote! {
        impl ::weir_plugin::Settings for #name {
            const PARAMETERS: &'static [::weir_plugin::Parameter] = &[#(#parameters),*];
        }
        impl ::weir_plugin::Setting for #name {
            const KIND: ::weir_plugin::Kind = ::weir_plugin::Kind::Table(
                <#name as ::weir_plugin::Settings>::PARAMETERS,
            );
        }
    })
}

fn derive_choice(input: &DeriveInput) -> Result<TokenStream, Error> {
    let name = &input.ident;
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(name.span(), "`Choice` can be derived for an enum only"));
    };
    let mut words = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.span(), "`Choice` needs variants without fields"));
        }
        words.push(kebab_case(&variant.ident.to_string()));
    }
    Ok(quote! {
        impl ::weir_plugin::Choice for #name {
            const CHOICES: &'static [&'static str] = &[#(#words),*];
        }
        impl ::weir_plugin::Setting for #name {
            const KIND: ::weir_plugin::Kind = ::weir_plugin::Kind::Choice(
                <#name as ::weir_plugin::Choice>::CHOICES,
            );
        }
    })
}

/// What `#[setting(…)]` can say of a field, each as text.
#[derive(Default)]
struct Attributes {
    default: Option<String>,
    min: Option<String>,
    max: Option<String>,
    step: Option<String>,
    unit: Option<String>,
}

fn parameter(field: &Field) -> Result<TokenStream, Error> {
    let Some(ident) = &field.ident else {
        return Err(Error::new(field.span(), "`Settings` needs named fields"));
    };
    let name = ident.unraw().to_string();
    let ty = &field.ty;
    let description = doc_comment(field);
    if description.is_empty() {
        return Err(Error::new(
            ident.span(),
            "a parameter needs a doc comment: it is the description that users read",
        ));
    }
    let Attributes { default, min, max, step, unit } = attributes(field)?;
    let has_default = default.is_some();
    let [default, min, max, step, unit] = [default, min, max, step, unit].map(|text| match text {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    });
    Ok(quote! {
        ::weir_plugin::Parameter {
            name: #name,
            description: #description,
            kind: <#ty as ::weir_plugin::Setting>::KIND,
            required: <#ty as ::weir_plugin::Setting>::REQUIRED && !#has_default,
            default: #default,
            min: #min,
            max: #max,
            step: #step,
            unit: #unit,
        }
    })
}

fn attributes(field: &Field) -> Result<Attributes, Error> {
    let mut found = Attributes::default();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("setting")) {
        attribute.parse_nested_meta(|meta| {
            let key = meta.path.require_ident()?.to_string();
            let value: Expr = meta.value()?.parse()?;
            match key.as_str() {
                "default" => found.default = Some(json(&value)?),
                "min" => found.min = Some(json(&value)?),
                "max" => found.max = Some(json(&value)?),
                "step" => found.step = Some(json(&value)?),
                "unit" => found.unit = Some(text(&value)?),
                _ => return Err(meta.error("expected `default`, `min`, `max`, `step` or `unit`")),
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// A literal as JSON text.
fn json(value: &Expr) -> Result<String, Error> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(number.base10_digits().to_owned()),
        // As JSON wants it: `1.` is no JSON number.
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => {
            Ok(format!("{:?}", number.base10_parse::<f64>()?))
        }
        Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. }) => Ok(flag.value.to_string()),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let escaped = text
                .value()
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace(char::is_control, " ");
            Ok(format!("\"{escaped}\""))
        }
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
            Ok(format!("-{}", json(&unary.expr)?))
        }
        other => Err(Error::new(other.span(), "expected a number, a string, `true` or `false`")),
    }
}

fn text(value: &Expr) -> Result<String, Error> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(Error::new(other.span(), "expected a string")),
    }
}

fn doc_comment(field: &Field) -> String {
    let lines = field.attrs.iter().filter(|a| a.path().is_ident("doc")).filter_map(|a| {
        match &a.meta.require_name_value().ok()?.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        }
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn kebab_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
