// What lies beside these pages: `make site` writes this file anew. Here it is nothing.
globalThis.beside = { downloads: {}, versions: [] };
