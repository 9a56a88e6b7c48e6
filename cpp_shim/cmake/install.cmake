# The install tree. Every path in it is relative to another one of it.
include(CMakePackageConfigHelpers)

if(TRANSUNET_COMMAND)
  install(PROGRAMS "${TRANSUNET_COMMAND}" DESTINATION bin RENAME transunet)
endif()
install(PROGRAMS "${CMAKE_BINARY_DIR}/lib/${soname}" DESTINATION lib)
install(CODE "file(CREATE_LINK ${soname} \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/libtransunet.so\" SYMBOLIC)")
install(FILES "${header}" DESTINATION include)
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/transunet" DESTINATION include)

# What a program must also link with the static library, beside the C library.
set(static_libraries -lstdc++ -lgcc_s -lutil -lrt -lpthread -lm -ldl)
if(TRANSUNET_STATIC)
  must_exist("${TRANSUNET_STATIC_LIBRARY}" "run cargo rustc --release --lib --crate-type staticlib")
  install(FILES "${TRANSUNET_STATIC_LIBRARY}" DESTINATION lib RENAME libtransunet.a)
endif()

configure_package_config_file(cmake/TransUNetConfig.cmake.in "${CMAKE_BINARY_DIR}/TransUNetConfig.cmake"
  INSTALL_DESTINATION lib/cmake/TransUNet NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/TransUNetConfigVersion.cmake" COMPATIBILITY SameMajorVersion)
install(FILES "${CMAKE_BINARY_DIR}/TransUNetConfig.cmake" "${CMAKE_BINARY_DIR}/TransUNetConfigVersion.cmake"
  DESTINATION lib/cmake/TransUNet)
list(JOIN static_libraries " " pc_static_libraries)
configure_file(cmake/transunet.pc.in "${CMAKE_BINARY_DIR}/transunet.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/transunet.pc" DESTINATION lib/pkgconfig)

# Installs what is there of `sources`, files or folders.
function(install_present destination)
  foreach(source ${ARGN})
    if(IS_DIRECTORY "${source}")
      install(DIRECTORY "${source}" DESTINATION "${destination}"
        PATTERN __pycache__ EXCLUDE PATTERN "*.pyc" EXCLUDE PATTERN tests EXCLUDE)
    elseif(EXISTS "${source}")
      install(FILES "${source}" DESTINATION "${destination}")
    endif()
  endforeach()
endfunction()

set(hosts "${root}/hosts")
install_present(lib/transunet/python "${hosts}/python/transunet.py")
if(TRANSUNET_SLICER)
  install_present(lib/transunet/slicer "${hosts}/slicer/TransUNetInteractive.py" "${hosts}/slicer/TransUNetInteractiveLib")
endif()
install_present(lib/transunet "${hosts}/monai_deploy" "${hosts}/trame")
file(GLOB models CONFIGURE_DEPENDS "${root}/models/*.safetensors" "${root}/models/*.md")
install_present(share/transunet/models ${models})
install_present(share/transunet "${root}/plugin_manifest.yaml")
file(GLOB pages CONFIGURE_DEPENDS "${root}/docs/*")
install_present(share/doc/transunet "${root}/README.md" "${root}/CHANGELOG.md" "${root}/LICENSE-APACHE" "${root}/LICENSE-MIT"
  "${CMAKE_CURRENT_SOURCE_DIR}/examples")
install_present(share/doc/transunet/docs ${pages})
