import symbolsOfHost from "proxywhirl:plugin/symbols@0.1.0";

/** The texts behind the symbols of countries, tags and sites. */
export const symbols = symbolsOfHost;
